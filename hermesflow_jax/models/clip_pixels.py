"""Pixels for CLIP, prepared as by OpenAI's own code.

The short side is resized to the side that the tower reads (bicubic,
antialiased, rounded to 8 bits as by Pillow), the center is cropped, and
channels are normalized. All of this runs on the device and equals
`image_reader.load_image` with `normalize_pixels` in every bit.

Where an odd number of pixels is cropped, OpenAI's code begins at the nearest
even one. transformers' processor begins at the smaller one, so every second odd
image is shifted by a pixel.
"""

import jax
import jax.numpy as jnp

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import pillow_resampling


def prepare_pixels(images: jax.Array, size: int) -> jax.Array:
  """Prepares images of equal size.

  Args:
    images: uint8[..., H, W, 3].
    size: `ClipConfig.image`, in pixels.

  Returns:
    float32[..., size, size, 3] for `Clip` and `ClipModel`.
  """
  return normalize_pixels(crop_square(images, size))


def crop_square(images: jax.Array, size: int) -> jax.Array:
  """Resizes the short side and crops the center, as image_reader.py does.

  Args:
    images: uint8[..., H, W, 3].
    size: side of the result, in pixels.

  Returns:
    uint8[..., size, size, 3].
  """
  height, width = images.shape[-3:-1]
  width, height = image_reader.resized_shape((width, height), size)
  images = pillow_resampling.resize(images, (height, width), 'bicubic')
  top, left = (round((side - size) / 2) for side in (height, width))
  return images[..., top : top + size, left : left + size, :]


def read_features(tower, images: jax.Array) -> jax.Array:
  """Computes the features of images that a Show-o reads.

  Args:
    tower: vision tower, a `clip.Clip`.
    images: uint8[..., H, W, 3].

  Returns:
    [..., S, D], see `clip.Clip.__call__`.
  """
  return tower(prepare_pixels(images, tower.config.image))


def normalize_pixels(images: jax.Array) -> jax.Array:
  """Normalizes uint8[..., H, W, 3] to the float32 pixels that CLIP expects."""
  mean = jnp.array([0.48145466, 0.4578275, 0.40821073])
  deviation = jnp.array([0.26862954, 0.26130258, 0.27577711])
  return (images.astype(jnp.float32) / 255.0 - mean) / deviation
