"""Images in requests: base64 in a data URL, or files of a folder."""

import base64
import binascii
import dataclasses
import hashlib
import io
import pathlib
import urllib.parse

import numpy as np
from PIL import Image

from hermesflow_jax.data import image_reader
from hermesflow_jax.data.sources import stored_image


@dataclasses.dataclass(frozen=True)
class ImageLimits:
  """What images of requests may be.

  Attributes:
    most_bytes: bytes of an encoded image at most.
    most_pixels: pixels of an image at most; checked before it is decoded.
    folder: folder that `file://` addresses may name; '' for none.
  """

  most_bytes: int
  most_pixels: int
  folder: str = ''


def read(url: str, limits: ImageLimits) -> bytes:
  """Returns the bytes of an image.

  Args:
    url: 'data:image/png;base64,...', or 'file://...' inside the folder.
    limits: what is allowed.

  Raises:
    ValueError: it is something else, or too large.
  """
  if url.startswith('data:'):
    head, comma, text = url.partition(',')
    if not comma or not head.endswith(';base64'):
      raise ValueError('url must be data:image/...;base64,..., got other data')
    if len(text) > limits.most_bytes * 4 // 3 + 4:
      raise ValueError(f'an image must have at most {limits.most_bytes} bytes')
    try:
      data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
      raise ValueError(f'url must be base64: {error}') from error
  elif url.startswith('file://') and limits.folder:
    data = _file(url.removeprefix('file://'), limits)
  else:
    forms = 'data:image/...;base64,...'
    if limits.folder:
      forms += ' or file:// inside the folder of the server'
    raise ValueError(f'url must be {forms}, got {url[:40]!r}')
  check(data, limits)
  return data


def _file(address, limits) -> bytes:
  root = pathlib.Path(limits.folder).resolve()
  name = urllib.parse.unquote(address)
  try:
    # Links are followed before the comparison: none leads out of the folder.
    path = (root / name.lstrip('/')).resolve()
    if name.startswith(f'{root}/'):
      path = pathlib.Path(name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
      raise ValueError('there is no such file')
    if path.stat().st_size <= limits.most_bytes:
      return path.read_bytes()
  except (OSError, ValueError) as error:
    raise ValueError(
      f'url must be a file of the folder, got file://{address[:80]}'
    ) from error
  raise ValueError(f'an image must have at most {limits.most_bytes} bytes')


def check(data: bytes, limits: ImageLimits) -> None:
  """Checks the size and the form of an image by its header.

  Args:
    data: bytes of an image file.
    limits: what is allowed.

  Raises:
    ValueError: it is no image, or too large.
  """
  if len(data) > limits.most_bytes:
    raise ValueError(f'an image must have at most {limits.most_bytes} bytes')
  try:
    # Formats beyond these are not tried: some start other programs.
    with Image.open(io.BytesIO(data), formats=image_reader.FORMATS) as image:
      width, height = image.size
  except (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
  ) as error:
    # The message of Pillow holds the address of an object.
    reason = '' if isinstance(error, Image.UnidentifiedImageError) else error
    raise ValueError(
      f'an image must be a PNG, JPEG or WebP file{reason and f": {reason}"}'
    ) from error
  if width * height > limits.most_pixels:
    raise ValueError(
      f'an image must have at most {limits.most_pixels} pixels, got {width} x '
      f'{height}'
    )


def to_pixels(data: bytes, size: int) -> np.ndarray:
  """Returns an image as a model reads it: uint8[size, size, 3].

  Args:
    data: bytes of an image file.
    size: side in pixels; the short side is resized, the long one cropped.

  Raises:
    ValueError: the image cannot be decoded.
  """
  image = stored_image.StoredImage('image of the request', lambda: data, '')
  return image_reader.load_image(image, size)


def content_name(data: bytes) -> str:
  """Returns a name that equal images share."""
  return hashlib.sha256(data).hexdigest()
