"""HTML and SVG elements whose text is always escaped.

Text is `str`, finished markup is `Markup`; an element escapes the one and
keeps the other, so a caption of a model can never become a tag.
"""

import base64
from collections.abc import Iterable
from collections.abc import Sequence
import html
import io
import math

import numpy as np
from PIL import Image

VOID = frozenset({'img', 'meta'})
NOTHING = '–'


class Markup(str):
  """HTML that is ready to be shown."""


def element(name: str, /, *children, **attributes) -> Markup:
  """Returns one element.

  Args:
    name: of the tag.
    *children: `Markup` is kept, anything else is shown as escaped text.
    **attributes: `class_='a'` gives class="a", `text_anchor` text-anchor; an
      attribute that is None is left out.
  """
  pairs = ''.join(
    f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
    for key, value in attributes.items()
    if value is not None
  )
  if name in VOID:
    if children:
      raise ValueError(f'<{name}> holds no children, found {len(children)}')
    return Markup(f'<{name}{pairs}>')
  return Markup(f'<{name}{pairs}>{join(children)}</{name}>')


def join(children: Iterable) -> Markup:
  """Returns children one after the other, text escaped."""
  return Markup(
    ''.join(
      c if isinstance(c, Markup) else html.escape(str(c)) for c in children
    )
  )


def number(value) -> float:
  """Returns the value as a float, NaN for anything that is not a number."""
  try:
    return float(value)
  except (TypeError, ValueError):
    return math.nan


def decimal(value, digits: int = 3, signed: bool = False) -> str:
  """Returns a number with `digits` decimals, a dash if it is not finite."""
  value = number(value)
  if not math.isfinite(value):
    return NOTHING
  text = f'{value:+.{digits}f}' if signed else f'{value:.{digits}f}'
  if not text.strip('+-0.'):
    text = text.lstrip('+-')
  return text.replace('-', '−')


def whole(value) -> str:
  """Returns a count with narrow spaces between thousands."""
  value = number(value)
  if not math.isfinite(value):
    return NOTHING
  return f'{value:,.0f}'.replace(',', '\u202f').replace('-', '−')


def measured(value, error, signed: bool = False) -> Markup:
  """Returns a number with its standard error, which is set smaller."""
  text = decimal(value, signed=signed)
  if text == NOTHING or not math.isfinite(number(error)):
    return join([text])
  return join([text, element('span', f' ± {decimal(error)}', class_='error')])


def table(header: Sequence, rows: Sequence[Sequence], first: int = 1) -> Markup:
  """Returns a table that scrolls on narrow screens.

  Args:
    header: one cell a column.
    rows: cells; all as long as the header.
    first: how many leading columns are text; the others are numbers.
  """

  def cells(row, name):
    return join(
      element(name, cell, class_=None if n < first else 'number')
      for n, cell in enumerate(row)
    )

  head = element('thead', element('tr', cells(header, 'th')))
  body = element('tbody', join(element('tr', cells(r, 'td')) for r in rows))
  return element('div', element('table', head, body), class_='scroll')


def picture(pixels: np.ndarray | None, text: str) -> Markup:
  """Returns an image element with its pixels inside.

  Args:
    pixels: uint8[H, W, 3]; None shows an empty frame.
    text: what a reader who cannot see it is told.

  Raises:
    ValueError: the pixels have another shape or type.
  """
  if pixels is None:
    return element('span', 'none', class_='frame')
  pixels = np.asarray(pixels)
  if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
    raise ValueError(
      f'picture of {pixels.dtype}{list(pixels.shape)}, wanted uint8[H, W, 3]'
    )
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'PNG', optimize=True)
  data = base64.b64encode(file.getvalue()).decode()
  return element(
    'img',
    src=f'data:image/png;base64,{data}',
    alt=text,
    width=pixels.shape[1],
    height=pixels.shape[0],
  )
