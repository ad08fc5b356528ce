"""Line charts show each value where it belongs."""

import math
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import page_reader
import pytest

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import inline_svg


def draw(*series, **options):
  options = {'description': 'd', 'x_label': 'n', **options}
  return page_reader.Reader(charts.lines(series, **options).svg)


def lines_of(read):
  """Returns the path of each line; not those of markers."""
  return [
    path
    for path in read.all('path', inline_svg.MARKERS)
    if 'fill: none' in path.get('style', '')
  ]


def test_a_line_has_a_point_for_each_value():
  points = [(n, n * n, 0.5) for n in range(9)]
  read = draw(charts.Series('a', points, markers=True))
  assert len(page_reader.spots(lines_of(read)[0])) == 9
  assert len(read.all('use', inline_svg.MARKERS)) == 9
  assert len(read.all('path', 'whisker')) == 9
  assert read.text.count('a, 3: 9.000') == 1


def test_a_line_breaks_where_a_value_is_missing():
  values = [1, 2, math.nan, 1, 1.5, 1, math.inf, 3]
  points = [(n, value, None) for n, value in enumerate(values)]
  read = draw(charts.Series('a', points))
  parts = lines_of(read)[0]['d'].split('M')[1:]
  assert [part.count('L') + 1 for part in parts] == [2, 3, 1]
  # A value without neighbors is a dot.
  assert len(read.all('use', inline_svg.MARKERS)) == 1


def test_points_stay_inside_the_drawing():
  points = [(n, v, 3.0) for n, v in enumerate((-1e4, 0.0, 7.0, 2e4))]
  read = draw(charts.Series('a', points, markers=True))
  markers = read.all('use', inline_svg.MARKERS)
  assert len(markers) == 4
  for spot in markers:
    assert 0 <= float(spot['x']) <= charts.WIDTH
    assert 0 <= float(spot['y']) <= charts.HEIGHT


def test_heights_are_in_proportion_to_values():
  points = [(n, value, None) for n, value in enumerate((1.0, 2.0, 4.0))]
  read = draw(charts.Series('a', points))
  low, middle, high = (y for _, y in page_reader.spots(lines_of(read)[0]))
  assert low - high == pytest.approx(3 * (low - middle), abs=0.05)


def test_long_lines_are_thinned_to_means():
  kept = charts.thin([(n, float(n), None) for n in range(1000)], most=100)
  assert len(kept) == 100
  assert kept[0][:2] == (4.5, 4.5)


@pytest.mark.parametrize(
  'low, high',
  [(0.0, 1.0), (-3e-5, 4e-5), (0.712, 0.913), (5.0, 5.0), (-1e6, 3.0)],
)
def test_ticks_are_few_and_enclose_the_range(low, high):
  marks = charts.ticks(low, high)
  assert marks[0] <= low and marks[-1] >= high
  assert 2 <= len(marks) <= 7
  assert np.ptp(np.diff(marks)) == pytest.approx(0, abs=1e-9 * (high - low + 1))


def test_ticks_of_a_line_may_have_names():
  series = charts.Series('a', [(0, 1.0, None), (1, 2.0, None)])
  words = draw(series, whole_x=True, x_names=['few', 'many']).text
  assert 'few' in words and 'many' in words


def test_long_names_of_ticks_stay_inside_the_drawing():
  series = charts.Series('a', [(0, 1.0, None), (1, 2.0, None)])
  names = ['l' * 30, 'r' * 30]
  svg = charts.lines(
    [series], description='d', x_label='', whole_x=True, x_names=names
  ).svg
  left, right = (
    float(text.get('x'))
    for name in names
    for text in ET.fromstring(svg).iter('text')
    if text.text == name
  )
  assert 30 * 3.5 < left < charts.WIDTH / 2 < right < charts.WIDTH - 30 * 3.5


def test_nothing_to_draw_is_no_chart():
  series = charts.Series('a', [(0, None, None), (1, math.nan, None)])
  assert charts.lines([series], description='d', x_label='n') is None
  assert charts.lines([], description='d', x_label='n') is None


@pytest.mark.parametrize(
  'name', ['<b>&"', 'costs $a$ $', '图像', 'line\nbreak\x00\x1b\ud800', '_a']
)
def test_any_text_stays_text(name):
  series = charts.Series(name, [(0, 1.0, None), (1, 2.0, None)], markers=True)
  read = draw(series, description=name, whole_x=True, x_names=[name, 'b'])
  shown = re.sub(r'[\x00-\x1f\ud800]', ' ', name)
  assert {tag for tag, _ in read.tags} <= set(
    'svg g path defs use text title'.split()
  )
  assert ' '.join(shown.split()) in read.text
  assert read.all('svg')[0]['aria-label'] == shown


def test_colors_and_fonts_are_those_of_the_page():
  points = [(0, 1.0, 0.1), (1, 2.0, 0.1)]
  svg = charts.lines(
    [charts.Series('a', points, 'und'), charts.Series('b', points, 'gen')],
    description='d',
    x_label='n',
    shaded=(0, 1),
    zero=True,
  ).svg
  assert not re.search(r'#[0-9a-f]{6}\b', svg)
  assert set(re.findall(r'var\(--([a-z-]+)\)', svg)) <= set(inline_svg.COLORS)
  assert 'font' not in svg and '<style' not in svg and 'url(' not in svg


def test_drawing_leaves_no_trace_in_matplotlib():
  """No global figure, no changed parameter: a caller may plot, too."""
  before = mpl.rcParams.copy()
  draw(charts.Series('a', [(0, 1.0, None)]))
  assert mpl.rcParams.copy() == before
  code = (
    'import sys; from hermesflow_jax.reports import bar_charts; '
    "bar_charts.bars([('a', [1])], [('b', 'und')], description='c'); "
    "sys.exit('matplotlib.pyplot' in sys.modules)"
  )
  assert (
    subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
  )
