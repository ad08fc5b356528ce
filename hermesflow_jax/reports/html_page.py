"""Renders Jinja2 templates to pages that open from disk.

Text is escaped in every template. Only `markupsafe.Markup` stays as it is.
"""

import base64
from collections.abc import Sequence
import dataclasses
import functools
import io
import typing

import numpy as np
from PIL import Image

from hermesflow_jax.reports import inline_svg
from hermesflow_jax.reports import number_text

if typing.TYPE_CHECKING:
  import jinja2


@dataclasses.dataclass(frozen=True)
class TableContent:
  """A table without a title.

  Attributes:
    header: column names.
    rows: cells, as many a row as the header has.
    text_columns: number of leading columns with text; others hold numbers.
    caption: text above the table; '' for none.
  """

  header: Sequence
  rows: Sequence[Sequence]
  text_columns: int = 1
  caption: str = ''


@dataclasses.dataclass(frozen=True)
class Figure:
  """A chart under a title.

  Attributes:
    title: text above the chart.
    chart: None where nothing was measured.
    caption: text below the chart; '' for none.
    kind: CSS class; '' for none.
  """

  title: str
  chart: inline_svg.Chart | None
  caption: str = ''
  kind: str = ''


def render(template: str, **values) -> str:
  """Returns a page as HTML.

  Args:
    template: file name in `templates/`.
    **values: template variables.

  Raises:
    jinja2.UndefinedError: the template needs a variable that is missing.
  """
  return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> 'jinja2.Environment':
  import jinja2

  environment = jinja2.Environment(
    loader=jinja2.PackageLoader('hermesflow_jax', 'reports/templates'),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
  )
  environment.filters['decimal'] = number_text.decimal
  environment.filters['png_uri'] = png_uri
  return environment


def png_uri(pixels: np.ndarray) -> str:
  """Returns an image as a `data:` URI, so that the page needs no file.

  Args:
    pixels: uint8[H, W, 3].

  Raises:
    ValueError: the pixels have another shape or dtype.
  """
  pixels = np.asarray(pixels)
  if pixels.ndim != 3 or pixels.shape[-1] != 3 or pixels.dtype != np.uint8:
    raise ValueError(
      'pixels must be uint8[H, W, 3], got '
      f'{pixels.dtype}{list(pixels.shape)}; convert them before they are shown'
    )
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'PNG', optimize=True)
  return f'data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'
