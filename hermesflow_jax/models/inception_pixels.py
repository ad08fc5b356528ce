"""Pixels for the Inception of the Frechet distance, in three published ways.

Distances of different preparations must not be compared, so results name the
function: a key in PREPARATIONS. All run on the device, on images of equal size.
"""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from hermesflow_jax.data import pillow_resampling

SIDE = 299


def text2image_benchmark(images: jax.Array) -> jax.Array:
  """Prepares images as text2image-benchmark does, with which Show-o is scored.

  The center is cropped to a square, then resized (bicubic, antialiased, rounded
  to 8 bits as by Pillow).

  Args:
    images: uint8[..., H, W, 3].

  Returns:
    float32[..., 299, 299, 3] in [-1, 1]: x / 127.5 - 1.
  """
  top, left, side = _square(images.shape)
  images = images[..., top : top + side, left : left + side, :]
  images = pillow_resampling.resize(images, (SIDE, SIDE), 'bicubic')
  return scale_pixels(images)


def pytorch_fid(images: jax.Array) -> jax.Array:
  """Prepares images as pytorch-fid does.

  They are stretched to a square without antialiasing (bilinear, not rounded).

  Args:
    images: uint8[..., H, W, 3].

  Returns:
    float32[..., 299, 299, 3] in [-1, 1]: x / 127.5 - 1.
  """
  shape = (*images.shape[:-3], SIDE, SIDE, images.shape[-1])
  x = images.astype(jnp.float32) / 255
  return 2 * jax.image.resize(x, shape, 'linear', antialias=False) - 1


def clean_fid(images: jax.Array) -> jax.Array:
  """Prepares images as clean-fid does (arXiv 2104.11222).

  They are stretched to a square (bicubic, antialiased, not rounded).

  Args:
    images: uint8[..., H, W, 3].

  Returns:
    float32[..., 299, 299, 3], about [-1, 1]: (x - 128) / 128.
  """
  x = pillow_resampling.resize_float(images, (SIDE, SIDE), 'bicubic')
  return (x - 128) / 128


PREPARATIONS = {
  'text2image_benchmark': text2image_benchmark,
  'pytorch_fid': pytorch_fid,
  'clean_fid': clean_fid,
}


def square_of_photo(image: np.ndarray) -> np.ndarray:
  """Crops and resizes an image on the host, as `text2image_benchmark` does.

  Photographs have many sizes, and the device would compile a program for each.
  `scale_pixels` of the result equals `text2image_benchmark`.

  Args:
    image: uint8[H, W, 3].

  Returns:
    uint8[299, 299, 3].
  """
  top, left, side = _square(image.shape)
  square = Image.fromarray(image[top : top + side, left : left + side])
  return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def scale_pixels(images: jax.Array) -> jax.Array:
  """Maps uint8[...] to float32[...] in [-1, 1]."""
  return jnp.asarray(images, jnp.float32) / 127.5 - 1


def _square(shape) -> tuple[int, int, int]:
  """Returns (top, left, side) of the largest square in the center."""
  height, width = shape[-3:-1]
  side = min(height, width)
  return (height - side) // 2, (width - side) // 2, side
