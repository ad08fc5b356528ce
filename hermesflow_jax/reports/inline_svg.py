"""Renders matplotlib figures as inline SVG in the page's colors.

A drawing uses stand-in colors, and the SVG refers to CSS variables in their
place. So a chart follows the light or dark scheme around it. Text
stays text: it can be searched, copied and enlarged.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import io
import re
import typing
import warnings
from xml.etree import ElementTree as ET

import markupsafe

if typing.TYPE_CHECKING:
  from matplotlib import figure as mpl_figure

# CSS variables of style.css, and their stand-ins in a drawing.
COLORS = {
  name: f'#0000{number:02x}'
  for number, name in enumerate(
    (
      'ink',
      'soft',
      'rule',
      'rail',
      'panel',
      'und',
      'und-pale',
      'gen',
      'gen-pale',
      'gap',
      'plain',
    ),
    start=1,
  )
}
# Control characters, line breaks, surrogates.
_CONTROL = re.compile(
  r'[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]'
)
# Identifier (gid) of lines whose markers have tooltips.
MARKERS = 'markers'
_STYLE = {
  'axes.axisbelow': True,
  'axes.labelcolor': COLORS['soft'],
  'font.size': 13,
  'grid.color': COLORS['rule'],
  'grid.linewidth': 1,
  'lines.dashed_pattern': (2.5, 2),
  'lines.linewidth': 2,
  'lines.solid_capstyle': 'butt',
  'svg.fonttype': 'none',
  'text.color': COLORS['soft'],
  # Captions and labels come from data: a dollar sign is a dollar sign.
  'text.parse_math': False,
  'xtick.color': COLORS['soft'],
  'xtick.major.pad': 6,
  'xtick.major.size': 0,
  'ytick.color': COLORS['soft'],
  'ytick.major.pad': 8,
  'ytick.major.size': 0,
}


@dataclasses.dataclass(frozen=True)
class Chart:
  """A drawing with its legend.

  Attributes:
    svg: an `<svg>` element.
    legend: (name, CSS classes) for each swatch; empty for no legend.
  """

  svg: markupsafe.Markup
  legend: Sequence[tuple[str, str]] = ()


@contextlib.contextmanager
def new_figure(width: int, height: int) -> 'Iterator[mpl_figure.Figure]':
  """Yields an empty figure, and the page's style while it is drawn.

  Args:
    width: width in pixels.
    height: height in pixels.
  """
  from matplotlib import figure as mpl_figure
  from matplotlib import style as mpl_style

  with mpl_style.context(('default', _STYLE)):
    # At 72 dots an inch, points, pixels and SVG units are equal.
    yield mpl_figure.Figure((width / 72, height / 72), dpi=72, frameon=False)


def printable(text: str) -> str:
  """Replaces line breaks and characters that XML forbids by spaces."""
  return _CONTROL.sub(' ', str(text))


def render(
  drawing: 'mpl_figure.Figure', description: str, tooltips: Iterable[str] = ()
) -> markupsafe.Markup:
  """Returns a figure as an `<svg>` element, equal bytes for equal drawings.

  An artist's `gid` becomes its CSS class.

  Args:
    drawing: from `new_figure`, inside its context.
    description: text for screen readers.
    tooltips: a text for each marker, in drawing order, over all artists
      whose `gid` is `MARKERS`.
  """
  import matplotlib as mpl

  description = printable(description)
  for artist in drawing.findobj():
    artist.set_clip_on(False)
  file = io.BytesIO()
  with (
    # The salt makes identifiers that are fixed, and unique on a page.
    mpl.rc_context({'svg.hashsalt': description or 'chart'}),
    warnings.catch_warnings(),
  ):
    # The browser has fonts for the characters that matplotlib's font lacks.
    warnings.filterwarnings('ignore', 'Glyph', UserWarning)
    drawing.savefig(file, format='svg', metadata={'Date': None})
  root = ET.fromstring(file.getvalue())
  # Inline SVG needs neither matplotlib's metadata nor its style sheet.
  del root[:2]
  for element in root.iter():
    element.tag = element.tag.rpartition('}')[2]
    _simplify(element)
  markers = root.iterfind(f'.//g[@class="{MARKERS}"]//use')
  for marker, text in zip(markers, tooltips, strict=True):
    ET.SubElement(marker, 'title').text = printable(text)
  root.attrib = {
    'viewBox': root.get('viewBox'),
    'role': 'img',
    'aria-label': description,
  }
  return markupsafe.Markup(ET.tostring(root, encoding='unicode'))


def _simplify(element: ET.Element) -> None:
  """Shortens an element's attributes and names the page's colors in them."""
  href = element.attrib.pop('{http://www.w3.org/1999/xlink}href', None)
  if href:
    element.set('href', href)
  if element.tag == 'g':
    gid = element.attrib.pop('id', '')
    # matplotlib numbers the groups that have no gid: patch_1.
    if gid and '_' not in gid:
      element.set('class', gid)
  if element.tag == 'text' and 'rotate(-0' in element.get('transform', ''):
    del element.attrib['transform']
  if declarations := element.get('style'):
    # Fonts are those of the page.
    without_fonts = [
      d for d in declarations.split('; ') if not d.startswith('font')
    ]
    declarations = '; '.join(without_fonts)
    for name, color in COLORS.items():
      declarations = declarations.replace(color, f'var(--{name})')
    element.set('style', declarations)
  for name in {'d', 'x', 'y'} & set(element.keys()):
    element.set(name, _round_numbers(element.get(name)))
  if not (element.text or '').strip():
    element.text = None
  element.tail = None


def _round_numbers(text: str) -> str:
  rounded = re.sub(r'\d+\.\d+', lambda n: f'{float(n.group()):.2f}', text)
  return ' '.join(rounded.split())
