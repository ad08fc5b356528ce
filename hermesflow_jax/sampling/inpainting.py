"""Grids of image codes of which some are given: inpainting, extrapolation.

A canvas is int32[N, H, W] with UNKNOWN where a code is to be drawn. A model
draws grids of one size; a larger canvas is filled window by window, each of
which keeps what is known in it.
"""

from collections.abc import Callable

import numpy as np

UNKNOWN = -1
DIRECTIONS = ('left', 'right', 'up', 'down')


def masked_codes(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Returns which codes a mask of pixels hides.

  Args:
    mask: bool[H', W'], True where the image is to be drawn anew; the grid
      divides its sides.
    grid: (h, w).

  Returns:
    bool[h, w], True where any pixel of the code's patch is masked.
  """
  h, w = grid
  rows, columns = mask.shape
  patches = mask.reshape(h, rows // h, w, columns // w)
  return patches.any((1, 3))


def extend_canvas(canvas: np.ndarray, direction: str, grid) -> np.ndarray:
  """Returns the canvas with half a grid of unknown codes on one side.

  Args:
    canvas: int32[N, H, W].
    direction: one of DIRECTIONS.
    grid: (h, w).
  """
  rows, columns = (max(1, side // 2) for side in grid)
  room = {
    'left': ((0, 0), (columns, 0)),
    'right': ((0, 0), (0, columns)),
    'up': ((rows, 0), (0, 0)),
    'down': ((0, rows), (0, 0)),
  }[direction]
  return np.pad(canvas, ((0, 0), *room), constant_values=UNKNOWN)


def canvas_windows(canvas: np.ndarray, grid) -> list[tuple[int, int]]:
  """Returns (top, left) of the windows that fill a canvas, in order.

  They go by half a grid, the last to the border, each where some code of the
  canvas is unknown that none before it has filled.
  """
  left_over = (canvas == UNKNOWN).any(0)
  corners = []
  for top in _starts(canvas.shape[1], grid[0]):
    for left in _starts(canvas.shape[2], grid[1]):
      corners.append((top, left))
  # What touches the most of what is known comes first.
  corners.sort(key=lambda c: -_known(left_over, c, grid))
  kept = []
  for corner in corners:
    here = _slices(corner, grid)
    if left_over[here].any():
      kept.append(corner)
      left_over[here] = False
  return kept


def fill_canvas(
  canvas: np.ndarray,
  grid,
  draw: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
  """Returns the canvas without unknown codes.

  Args:
    canvas: int32[N, H, W], at least as large as the grid.
    grid: (h, w), what a model draws at once.
    draw: (number of the window, codes int32[N, h, w] with 0 where unknown,
      known bool[N, h, w]) -> int32[N, h, w], which keeps the known ones.
  """
  canvas = canvas.copy()
  for number, corner in enumerate(canvas_windows(canvas, grid)):
    here = (slice(None), *_slices(corner, grid))
    known = canvas[here] != UNKNOWN
    canvas[here] = draw(number, np.where(known, canvas[here], 0), known)
  return canvas


def _starts(size, window):
  steps = range(0, size - window + 1, max(1, window // 2))
  return sorted({*steps, size - window})


def _slices(corner, grid):
  return tuple(slice(c, c + side) for c, side in zip(corner, grid))


def _known(unknown, corner, grid):
  return int((~unknown[_slices(corner, grid)]).sum())
