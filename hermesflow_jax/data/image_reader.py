"""Image files of strangers to pixels, or one line that says what is wrong.

Show-o's preparation: the short side is resized to the wanted size (bicubic,
antialiased), the centre is cut out. No image is ever replaced by another.
"""

import contextlib
import pathlib
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps

from hermesflow_jax.runtime import storage

FORMATS = ('PNG', 'JPEG', 'WEBP')
# Changes with what `load_image` makes of a file, so that no codes of older pixels are
# taken for those of newer ones.
VERSION = 2
# Pixels of the largest image that is decoded.
MAX_PIXELS = 64_000_000


def load_image(path: pathlib.PurePath, size: int) -> np.ndarray:
  """Reads a square image.

  Args:
    path: a PNG, JPEG or WebP file, a `storage.path`.
    size: of its sides after resizing and cropping, in pixels.

  Returns:
    uint8[size, size, 3].

  Raises:
    ValueError: the file is missing, damaged, of another format, animated, or
      too large.
  """
  with _opened(path) as image:
    return np.asarray(crop_square(_rgb(image), size))


def load_mask(
  path: pathlib.PurePath, of: pathlib.PurePath, size: int
) -> np.ndarray:
  """Reads the mask of an image.

  Args:
    path: the mask, a picture; what is brighter than middle grey is masked.
    of: the image it belongs to.
    size: see `load_image`.

  Returns:
    bool[size, size], resized and cut as `load_image` does with the image.

  Raises:
    ValueError: as `load_image`; or the two are not of the same size.
  """
  with _opened(of) as image:
    wanted = ImageOps.exif_transpose(image).size
  with _opened(path) as image:
    mask = _rgb(image).convert('L')
  if mask.size != wanted:
    raise ValueError(
      f'mask {path} has {mask.width} x {mask.height} pixels, image {of} '
      f'{wanted[0]} x {wanted[1]}'
    )
  return np.asarray(crop_square(mask, size)) > 127


@contextlib.contextmanager
def _opened(path):
  """An open image; whatever is wrong with it becomes one ValueError."""
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('error', Image.DecompressionBombWarning)
      with (
        storage.open_bytes(path) as file,
        Image.open(file, formats=FORMATS) as image,
      ):
        if image.width * image.height > MAX_PIXELS:
          raise ValueError(
            f'it has {image.width} x {image.height} pixels, wanted at most '
            f'{MAX_PIXELS} in all'
          )
        if getattr(image, 'n_frames', 1) > 1:
          raise ValueError(f'it has {image.n_frames} frames, wanted one')
        yield image
  except (
    OSError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
  ) as error:
    raise ValueError(f'image {path} cannot be read: {error}') from error


def _rgb(image: Image.Image) -> Image.Image:
  """The picture as people see it: upright, 8 bits, on white where clear."""
  image = ImageOps.exif_transpose(image)
  if image.mode.startswith('I') or image.mode == 'F':
    # 16 bits; `convert` would cut off what exceeds 255.
    values = np.asarray(image).astype(np.int64)
    image = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
  if image.has_transparency_data:
    image = image.convert('RGBA')
    ground = Image.new('RGBA', image.size, 'white')
    image = Image.alpha_composite(ground, image)
  return image.convert('RGB')


def resized_shape(shape: tuple[int, int], size: int) -> tuple[int, int]:
  """Returns (width, height) after the short side is resized to `size`.

  As torchvision's `Resize(size)`: the long side is rounded down.

  Args:
    shape: (width, height) in pixels.
    size: of the short side, in pixels.
  """
  width, height = shape
  short, long = sorted(shape)
  other = int(size * long / short)
  return (size, other) if width <= height else (other, size)


def crop_square(image: Image.Image, size: int) -> Image.Image:
  """Returns an image with its short side resized to `size`, its centre cut.

  Pixel by pixel torchvision's `Resize(size, BICUBIC)` and `CenterCrop(size)`
  of a PIL image: Show-o's codes were learned from these.
  """
  image = image.resize(
    resized_shape(image.size, size), Image.Resampling.BICUBIC
  )
  # Python rounds halves to even, as torchvision does.
  left, top = (round((side - size) / 2) for side in image.size)
  return image.crop((left, top, left + size, top + size))
