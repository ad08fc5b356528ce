"""Image files of strangers to pixels, or one line that says what is wrong.

Show-o's preparation: the short side is resized to the wanted size (bicubic,
antialiased), the centre is cut out. No image is ever replaced by another.
"""

import pathlib
import warnings

import numpy as np
from PIL import Image

FORMATS = ('PNG', 'JPEG', 'WEBP')
# Pixels of the largest image that is decoded.
MOST_PIXELS = 64_000_000


def load(path: pathlib.Path, size: int) -> np.ndarray:
  """Reads a square image.

  Args:
    path: a PNG, JPEG or WebP file.
    size: of its sides after resizing and cropping, in pixels.

  Returns:
    uint8[size, size, 3].

  Raises:
    ValueError: the file is missing, damaged, of another format, or too large.
  """
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('error', Image.DecompressionBombWarning)
      with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MOST_PIXELS:
          raise ValueError(
              f'it has {image.width} x {image.height} pixels, wanted at most '
              f'{MOST_PIXELS} in all'
          )
        return np.asarray(square(image.convert('RGB'), size))
  except (
      OSError, ValueError, SyntaxError, Image.DecompressionBombError,
      Image.DecompressionBombWarning,
  ) as error:
    raise ValueError(f'image {path} cannot be read: {error}') from error


def square(image: Image.Image, size: int) -> Image.Image:
  """Returns an image with its short side resized to `size`, its centre cut."""
  short = min(image.size)
  width, height = (
      max(size, round(side * size / short)) for side in image.size
  )
  image = image.resize((width, height), Image.Resampling.BICUBIC)
  left, top = (width - size) // 2, (height - size) // 2
  return image.crop((left, top, left + size, top + size))
