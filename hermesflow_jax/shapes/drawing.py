"""Draws scenes as images."""

import functools

import numpy as np

from hermesflow_jax.shapes import shape_world


def coverage(
  shape: str, size: str, width: int, dx: float = 0.0, dy: float = 0.0
) -> np.ndarray:
  """Returns how much of each pixel a shape covers.

  Args:
    shape: name in SHAPES.
    size: key in SIZES.
    width: even side of a square window with the shape at its center, in pixels.
    dx: offset to the right, in pixels.
    dy: offset downwards, in pixels.

  Returns:
    float32[width, width] in [0, 1], a mean over 4 x 4 samples per pixel.
  """
  samples = 4
  axis = (np.arange(width * samples) + 0.5) / samples - width / 2
  x, y = np.meshgrid(axis - dx, axis - dy)
  radius = shape_world.SIZES[size] / 2
  across, down = abs(x), abs(y)
  distance = np.hypot(x, y)
  inside = {
    'circle': distance <= radius,
    'square': np.maximum(across, down) <= radius,
    'triangle': (down <= radius) & (2 * across <= y + radius),
    'cross': (np.maximum(across, down) <= radius)
    & (np.minimum(across, down) <= radius / 3),
    'ring': (distance <= radius) & (distance >= radius / 2),
  }[shape]
  blocks = inside.reshape(width, samples, width, samples)
  return blocks.mean((1, 3), dtype=np.float32)


def rgb_of_color(color: str) -> tuple[int, ...]:
  """Returns RGB values (0 to 255) for a key in COLORS or '#rrggbb'."""
  return shape_world.COLORS.get(color) or tuple(bytes.fromhex(color[1:]))


@functools.lru_cache(4096)
def _patch(shape: str, color: str, size: str) -> np.ndarray:
  """Draws an object on the background, uint8[12, 12, 3]."""
  alpha = coverage(shape, size, shape_world.SIZES['large'])[..., None]
  ground = np.array(shape_world.BACKGROUND, np.float32)
  return np.rint(ground + alpha * (rgb_of_color(color) - ground)).astype(
    np.uint8
  )


def render(scene: shape_world.Scene) -> np.ndarray:
  """Draws a scene as uint8[64, 64, 3]."""
  image = np.full(
    (shape_world.SIZE, shape_world.SIZE, 3), shape_world.BACKGROUND, np.uint8
  )
  width = shape_world.SIZES['large']
  for o in scene.objects:
    left, top = int(o.x) - width // 2, int(o.y) - width // 2
    patch = _patch(o.shape, o.color, o.size)
    image[top : top + width, left : left + width] = patch
  return image
