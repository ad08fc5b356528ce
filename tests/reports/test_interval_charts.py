"""Forest plots show each value beside 0, with its interval."""

from xml.etree import ElementTree as ET

import page_reader
import pytest

from hermesflow_jax.reports import inline_svg
from hermesflow_jax.reports import interval_charts


def draw(rows):
  return interval_charts.intervals(rows, description='d', x_label='change')


def test_intervals_are_two_errors_each_way_beside_zero():
  read = page_reader.Reader(
    draw(
      [
        ('first', 0.1, 0.05, True),
        ('second', -0.2, float('nan'), False),
        ('third', None, 0.1, False),
        ('fourth', 0.2, 0.05, True),
      ]
    ).svg
  )
  (axis,) = read.all('path', 'axis')
  zero = page_reader.spots(axis)[0][0]
  dots = read.all('use', inline_svg.MARKERS)
  first, second, fourth = (float(dot['x']) for dot in dots)
  whiskers = [page_reader.spots(path) for path in read.all('path', 'whisker')]
  ends = [sorted(x for x, _ in whisker) for whisker in whiskers if whisker]
  # 0.1 with an error of 0.05 reaches 0 and 0.2; 0.2 reaches 0.1 and 0.3.
  assert ends[0] == pytest.approx([zero, fourth], abs=0.2)
  assert ends[1] == pytest.approx([first, 2 * fourth - first], abs=0.2)
  assert len(ends) == 2
  assert zero - second == pytest.approx(2 * (first - zero), abs=0.3)
  hollow = ['--panel' in dot['style'] for dot in dots]
  assert hollow == [False, True, False]
  assert 'third' in read.text and 'first: +0.100' in read.text


def test_long_names_have_room():
  name = 'DPO, generation, no SFT terms'
  chart = draw([(name, 0.1, 0.1, True), ('b', -0.1, 0.1, True)])
  root = ET.fromstring(chart.svg)
  (text,) = (t for t in root.iter('text') if t.text == name)
  assert 'text-anchor: end' in text.get('style')
  end = float(text.get('x'))
  assert end > 7 * len(name)
  # Nothing is drawn over it.
  grid = [page_reader.spots(path.attrib) for path in root.iter('path')]
  starts = [spots[0][0] for spots in grid if spots and spots[0][1] > 10]
  assert all(x > end for x in starts)


def test_intervals_of_nothing_are_no_chart():
  assert draw([('a', None, None, False)]) is None
