"""Reads image files that may be damaged or hostile.

Images are prepared as in Show-o: the short side is resized (bicubic,
antialiased), then the center is cropped. Photographs of phones (MPO) are JPEG
files with further pictures behind the first, which is read. Faults are one-line
errors.
"""

from collections.abc import Sequence
import contextlib
import pathlib
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps

from hermesflow_jax.runtime import file_kinds
from hermesflow_jax.runtime import storage

# Pillow opens MPO files as JPEG.
FORMATS = ('PNG', 'JPEG', 'WEBP')
# Increased when `load_image` returns other pixels for a file, so that cached
# codes of the earlier pixels are not reused.
VERSION = 2
# Larger images are refused.
MAX_PIXELS = 64_000_000
# EXIF's tag of the orientation, and its values for an image on its side.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


def load_image(
  path: pathlib.PurePath, size: int, place: tuple[float, float] | None = None
) -> np.ndarray:
  """Reads a square image.

  Args:
    path: PNG, JPEG or WebP file, a `storage.path`.
    size: side after resizing and cropping, in pixels.
    place: see `crop_square`.

  Returns:
    uint8[size, size, 3].

  Raises:
    ValueError: the file is missing, damaged, of another format, animated, or
      too large.
  """
  with _opened(path) as image:
    return np.asarray(crop_square(_rgb(image), size, place))


def load_pixels(path: pathlib.PurePath) -> np.ndarray:
  """Reads an image of any size as uint8[H, W, 3].

  Args:
    path: file, a `storage.path` or `StoredImage`.

  Raises:
    ValueError: the image cannot be read.
  """
  with _opened(path) as image:
    return np.asarray(_rgb(image))


def load_mask(
  path: pathlib.PurePath, image_path: pathlib.PurePath, size: int
) -> np.ndarray:
  """Reads the mask of an image.

  Args:
    path: mask file; pixels brighter than middle gray are masked.
    image_path: image that the mask belongs to.
    size: side after resizing and cropping, in pixels.

  Returns:
    bool[size, size], resized and cropped like the image in `load_image`.

  Raises:
    ValueError: as `load_image`; or mask and image differ in size.
  """
  with _opened(image_path) as image:
    expected_size = ImageOps.exif_transpose(image).size
  with _opened(path) as image:
    mask = _rgb(image).convert('L')
  if mask.size != expected_size:
    raise ValueError(
      f'mask {path} has {mask.width} x {mask.height} pixels, image '
      f'{image_path} {expected_size[0]} x {expected_size[1]}'
    )
  return np.asarray(crop_square(mask, size)) > 127


def header_fault(path: pathlib.PurePath) -> str:
  """Returns why a local file cannot be opened as an image, or ''.

  This takes a fraction of the time of `load_image`, and misses truncated files.
  In a bucket it would cost a request for each image, so '' is returned.

  Args:
    path: file, a `storage.path`.
  """
  return _fault(path, lambda image: None)


def decoding_fault(path: pathlib.PurePath) -> str:
  """Returns why a local image cannot be decoded, or ''.

  Unlike `header_fault` this finds truncated files.

  Args:
    path: file, a `storage.path` or `StoredImage`; '' for one in a bucket.
  """
  return _fault(path, _rgb)


def faults_of_all(
  images: Sequence[tuple[str, pathlib.PurePath | None]], decoded: bool
) -> list[str]:
  """Returns the faults of all local images, for one error message.

  Headers are read first. If a header has a fault, or `decoded` is true, a run
  fails anyway: then all images are decoded, so that the error also names
  truncated images.

  Args:
    images: pairs (beginning of the message, file); None is passed over.
    decoded: whether to decode images whose headers have no fault, too.
  """

  def faults(fault_of):
    return [
      f'{start}: {fault}'
      for start, path in images
      if path is not None and (fault := fault_of(path))
    ]

  if decoded or faults(header_fault):
    return faults(decoding_fault)
  return []


def _fault(path, read) -> str:
  """Returns why a local image cannot be opened or read, or ''."""
  if isinstance(path, pathlib.PurePath) and not storage.is_local(path):
    return ''
  try:
    with _opened(path) as image:
      read(image)
    return ''
  except ValueError as error:
    return str(error)


def image_size(path: pathlib.PurePath, decode: bool) -> tuple[int, int]:
  """Returns the (width, height) of an upright image in pixels.

  Args:
    path: PNG, JPEG or WebP file, a `storage.path` or `StoredImage`.
    decode: whether all pixels are read, which finds truncated files.

  Raises:
    ValueError: as `load_image`.
  """
  with _opened(path) as image:
    if decode:
      image.load()
    turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
    return image.size[::-1] if turned else image.size


@contextlib.contextmanager
def _opened(path):
  """Opens an image; every fault becomes a ValueError of a single line."""
  try:
    file_kinds.check_regular(path)
    with warnings.catch_warnings():
      # Pillow warns of damaged EXIF data, without which it reads the image.
      warnings.filterwarnings('ignore', category=UserWarning, module='PIL')
      warnings.simplefilter('error', Image.DecompressionBombWarning)
      with storage.open_bytes(path) as file, _identified(file, path) as image:
        if image.width * image.height > MAX_PIXELS:
          raise ValueError(
            f'it must have at most {MAX_PIXELS} pixels, got {image.width} x '
            f'{image.height}'
          )
        if image.format != 'MPO' and getattr(image, 'n_frames', 1) > 1:
          raise ValueError(f'it must have a single frame, got {image.n_frames}')
        yield image
  except (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
  ) as error:
    raise ValueError(
      f'image {path} cannot be read: {error}{_advice(path, error)}'
    ) from error


def _advice(path, error: Exception) -> str:
  """Returns what to do about an error of Pillow about a damaged image."""
  # Errors of the system have a number, and ours are ValueErrors.
  if getattr(error, 'errno', None) or not isinstance(
    error, (OSError, SyntaxError)
  ):
    return ''
  return f': {file_kinds.name(path) or "another file"}'


def _identified(file, path):
  """Returns an open image; the error of other files says what they are."""
  try:
    return Image.open(file, formats=FORMATS)
  except Image.UnidentifiedImageError as error:
    kind = file_kinds.name(path) or 'another file'
    raise ValueError(f'it must be PNG, JPEG or WebP, got {kind}') from error


def _rgb(image: Image.Image) -> Image.Image:
  """Returns the image upright, with 8 bits, transparent parts on white."""
  image = ImageOps.exif_transpose(image)
  if image.mode.startswith('I') or image.mode == 'F':
    # 16 bits; `convert` would clip values above 255.
    values = np.asarray(image).astype(np.int64)
    image = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert('RGBA')
    ground = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(ground, image)
  return image.convert('RGB')


def resized_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
  """Returns (width, height) after resizing the short side to `size`.

  The long side is rounded down, as in torchvision's `Resize(size)`.

  Args:
    shape: (width, height) in pixels.
    size: new length of the short side, in pixels.
  """
  width, height = shape
  short, long = sorted(shape)
  other = int(size * long / short)
  return (size, other) if width <= height else (other, size)


def crop_square(
  image: Image.Image, size: int, place: tuple[float, float] | None = None
) -> Image.Image:
  """Resizes the short side to `size` and crops a square.

  The center equals torchvision's `Resize(size, BICUBIC)` and `CenterCrop(size)`
  of a PIL image in every pixel, because Show-o was trained with these.

  Args:
    image: the image.
    size: side of the square in pixels.
    place: position of the square along (width, height), in [0, 1]: 0 is left or
      top, 1 is right or bottom; None for the center.
  """
  width, height = resized_shape(image.size, size)
  # Python rounds halves to even, as torchvision does.
  left, top = (round((side - size) / 2) for side in (width, height))
  if place is not None:
    left, top = (
      round((side - size) * share)
      for side, share in zip((width, height), place, strict=True)
    )
  if width * height > MAX_PIXELS:
    # An image of 1 x 20,000 pixels would need gigabytes: only the crop is
    # resized.
    columns, rows = image.width / width, image.height / height
    box = left * columns, top * rows, (left + size) * columns
    box = *box, (top + size) * rows
    return image.resize((size, size), Image.Resampling.BICUBIC, box)
  image = image.resize((width, height), Image.Resampling.BICUBIC)
  return image.crop((left, top, left + size, top + size))
