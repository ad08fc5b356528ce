"""Writes PNG files with metadata, and contact sheets."""

import bisect
from collections.abc import Mapping
from collections.abc import Sequence
import io
import json
import pathlib

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import PngImagePlugin

from hermesflow_jax.data import label_fonts
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage

# The key of the text chunk of a PNG file.
KEY = 'hermesflow_jax'
# The last chunk of every PNG file.
_END = b'\x00\x00\x00\x00IEND\xaeB`\x82'
_MARGIN = 8
# Largest and smallest side of an image on a sheet, in pixels.
_MOST, _LEAST = 256, 96
_FONT_SIZE = 14


def save_png(path: pathlib.PurePath, image: np.ndarray, facts: Mapping) -> None:
  """Writes a PNG file atomically.

  Args:
    path: file.
    image: uint8[H, W, 3].
    facts: metadata, stored as JSON in the text chunk `KEY`. Its 'prompt' is
      also stored as 'Description', which image viewers show.
  """
  info = PngImagePlugin.PngInfo()
  info.add_itxt(KEY, json.dumps(facts, ensure_ascii=False))
  if 'prompt' in facts:
    info.add_itxt('Description', facts['prompt'])
  output_files.write_atomically(path, png_bytes(Image.fromarray(image), info))


def read_metadata(path: pathlib.PurePath) -> dict:
  """Returns the `facts` of `save_png`; ValueError for other files."""
  with Image.open(path) as image:
    text = getattr(image, 'text', {}).get(KEY)
  if text is None:
    raise ValueError(f'{path} has no metadata of {KEY}')
  return json.loads(text)


def read_pixels(path: pathlib.PurePath) -> np.ndarray:
  """Returns the pixels of a file of `save_png`: uint8[H, W, 3]."""
  return np.asarray(Image.open(io.BytesIO(path.read_bytes())))


def is_complete(path: pathlib.PurePath) -> bool:
  """Returns whether a PNG file exists with its end.

  A bucket never holds a part of a file: there its name is enough.

  Args:
    path: file.
  """
  if not storage.is_local(path):
    return path.exists()
  try:
    with open(path, 'rb') as file:
      file.seek(-len(_END), io.SEEK_END)
      return file.read() == _END
  except OSError:
    return False


def contact_sheet(
  path: pathlib.PurePath,
  rows: Sequence[Sequence[np.ndarray]],
  labels: Sequence[str],
) -> None:
  """Writes a contact sheet as PNG, with a labeled row of images per list.

  Args:
    path: file.
    rows: R lists of uint8[H, W, 3].
    labels: R texts, drawn above their rows. Characters that no font of the
      system has are escaped.
  """
  sides = [max(image.shape[:2]) for row in rows for image in row]
  scale = min(_MOST, max(_LEAST, max(sides))) / max(sides)
  rows = [[_scaled(image, scale) for image in row] for row in rows]
  line = 22
  wide = (
    max(sum(image.width + _MARGIN for image in row) for row in rows) + _MARGIN
  )
  texts = [_shortened(label, wide - 2 * _MARGIN) for label in labels]
  high = (
    sum(line + max(image.height for image in row) + _MARGIN for row in rows)
    + _MARGIN
  )
  page = Image.new('RGB', (wide, high), (252, 252, 250))
  pen = ImageDraw.Draw(page)
  top = _MARGIN
  for row, (font, text) in zip(rows, texts):
    pen.text((_MARGIN, top), text, (28, 28, 33), font)
    top, left = top + line, _MARGIN
    for image in row:
      page.paste(image, (left, top))
      left += image.width + _MARGIN
    top += max(image.height for image in row) + _MARGIN
  output_files.write_atomically(path, png_bytes(page))


def png_bytes(image: Image.Image, info=None) -> bytes:
  """Returns an image as a PNG file, with `PngImagePlugin.PngInfo` or None."""
  buffer = io.BytesIO()
  image.save(buffer, 'PNG', pnginfo=info)
  return buffer.getvalue()


def _scaled(image, scale):
  picture = Image.fromarray(image)
  size = tuple(max(1, round(side * scale)) for side in picture.size)
  return picture.resize(size, Image.Resampling.BICUBIC)


def _shortened(label, width):
  """Returns a font and the label as its text, shortened to `width` pixels."""
  # A label of 1,000 characters is shortened in any case.
  font, label = label_fonts.fit_label(label[:1000], _FONT_SIZE)
  if font.getlength(label) <= width:
    return font, label
  longer = bisect.bisect_right(
    range(len(label)),
    width,
    key=lambda count: font.getlength(label[:count] + '...'),
  )
  return font, label[: max(0, longer - 1)] + '...'
