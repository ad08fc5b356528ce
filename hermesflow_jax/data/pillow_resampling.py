"""Pillow's antialiased resampling in JAX, equal to Pillow in every bit.

Networks that score images were trained or calibrated on images that Pillow
resized, so published scores need its rounding: weights are rounded to 22 bits,
columns come first, and the image between both passes has 8 bits. Images that
are on the device already need no way over the host.
"""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp
import numpy as np

# Bits of a weight behind the binary point.
PRECISION = 22


def _bilinear(x: np.ndarray) -> np.ndarray:
  return np.maximum(1 - np.abs(x), 0)


def _bicubic(x: np.ndarray) -> np.ndarray:
  """The cubic of Keys (1981) with a = -1/2."""
  a, x = -0.5, np.abs(x)
  near = ((a + 2) * x - (a + 3)) * x * x + 1
  far = (((x - 5) * x + 8) * x - 4) * a
  return np.where(x < 1, near, np.where(x < 2, far, 0.0))


# name: (half the width of the filter, filter)
FILTERS: dict[str, tuple[float, Callable]] = {
  'bilinear': (1.0, _bilinear),
  'bicubic': (2.0, _bicubic),
}


def resize(images: jax.Array, shape: tuple[int, int], method: str) -> jax.Array:
  """Resizes images of 8 bits, as `PIL.Image.resize` does.

  Args:
    images: uint8[..., H, W, C].
    shape: (height, width) of the result.
    method: a key in FILTERS.

  Returns:
    uint8[..., height, width, C].
  """
  for axis, size in ((-2, shape[1]), (-3, shape[0])):
    if images.shape[axis] != size:
      first, weights = taps(images.shape[axis], size, method)
      # Pillow rounds halves away from 0.
      weights = weights * 2**PRECISION
      rounded = np.trunc(weights + np.copysign(0.5, weights)).astype(np.int32)
      total = _weighted_sum(images.astype(jnp.int32), first, rounded, axis)
      total = (total + (1 << PRECISION - 1)) >> PRECISION
      images = jnp.clip(total, 0, 255).astype(jnp.uint8)
  return images


def resize_float(
  images: jax.Array, shape: tuple[int, int], method: str
) -> jax.Array:
  """Resizes without rounding or clipping, as Pillow does in its mode 'F'.

  Args:
    images: [..., H, W, C].
    shape: (height, width) of the result.
    method: a key in FILTERS.

  Returns:
    float32[..., height, width, C]. Pillow sums in float64, so the last bits
    may differ.
  """
  images = images.astype(jnp.float32)
  for axis, size in ((-2, shape[1]), (-3, shape[0])):
    if images.shape[axis] != size:
      first, weights = taps(images.shape[axis], size, method)
      images = _weighted_sum(images, first, weights.astype(np.float32), axis)
  return images


def taps(
  size: int, new_size: int, method: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the pixels and weights that make up each pixel of the result.

  Args:
    size: pixels of a row.
    new_size: pixels of the resized row.
    method: a key in FILTERS.

  Returns:
    (first int32[new_size], weights float64[new_size, K]): pixel i of the result
    is the sum over k of weights[i, k] * row[first[i] + k]. Weights behind the
    end of the row are 0.
  """
  support, function = FILTERS[method]
  scale = size / new_size
  stretch = max(scale, 1.0)
  support *= stretch
  count = math.ceil(support) * 2 + 1
  center = (np.arange(new_size) + 0.5) * scale
  first = np.maximum((center - support + 0.5).astype(np.int64), 0)
  end = np.minimum((center + support + 0.5).astype(np.int64), size)
  places = first[:, None] + np.arange(count)
  weights = function((places - center[:, None] + 0.5) * (1.0 / stretch))
  weights = np.where(places < end[:, None], weights, 0.0)
  # One after the other: a sum in another order may round to another bit.
  total = np.cumsum(weights, axis=1)[:, -1:]
  return first.astype(np.int32), weights / total


def _weighted_sum(x, first, weights, axis) -> jax.Array:
  """Sums pixels along an axis; see `taps`."""
  last = x.shape[axis] - 1
  broadcast = (-1,) + (1,) * (-axis - 1)
  total = 0
  for k in range(weights.shape[1]):
    pixels = jnp.take(x, np.minimum(first + k, last), axis=axis)
    total += pixels * weights[:, k].reshape(broadcast)
  return total
