"""Inpainting and extrapolation on grids of image codes.

A canvas is int32[N, H, W] with UNKNOWN at the codes to generate. A model
generates grids of a fixed size, so a larger canvas is filled window by window;
each window keeps its known codes.
"""

from collections.abc import Callable

import numpy as np

UNKNOWN = -1
DIRECTIONS = ('left', 'right', 'up', 'down')


def masked_codes(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Converts a mask of pixels to a mask of codes.

  Args:
    mask: bool[H', W'], True at pixels to replace; h divides H', w divides W'.
    grid: (h, w), image size in codes.

  Returns:
    bool[h, w], True where any pixel of the code's patch is masked.
  """
  h, w = grid
  rows, columns = mask.shape
  patches = mask.reshape(h, rows // h, w, columns // w)
  return patches.any((1, 3))


def extend_canvas(canvas: np.ndarray, direction: str, grid) -> np.ndarray:
  """Extends a canvas by half a grid of unknown codes.

  Args:
    canvas: int32[N, H, W].
    direction: side to extend, an entry in DIRECTIONS.
    grid: (h, w), image size in codes.

  Returns:
    int32[N, H', W'].
  """
  rows, columns = (max(1, side // 2) for side in grid)
  pads = {
    'left': ((0, 0), (columns, 0)),
    'right': ((0, 0), (0, columns)),
    'up': ((rows, 0), (0, 0)),
    'down': ((0, rows), (0, 0)),
  }[direction]
  return np.pad(canvas, ((0, 0), *pads), constant_values=UNKNOWN)


def canvas_windows(canvas: np.ndarray, grid) -> list[tuple[int, int]]:
  """Returns the windows that fill a canvas, in the order in which to fill them.

  Windows start every half grid and at the border; windows with more known
  codes come first. A window is dropped if earlier windows fill its codes.

  Args:
    canvas: int32[N, H, W].
    grid: (h, w), window size.

  Returns:
    List with (top, left).
  """
  unknown = (canvas == UNKNOWN).any(0)
  corners = []
  for top in _starts(canvas.shape[1], grid[0]):
    for left in _starts(canvas.shape[2], grid[1]):
      corners.append((top, left))
  corners.sort(key=lambda c: -_count_known(unknown, c, grid))
  windows = []
  for corner in corners:
    window = _slices(corner, grid)
    if unknown[window].any():
      windows.append(corner)
      unknown[window] = False
  return windows


def fill_canvas(
  canvas: np.ndarray,
  grid,
  draw: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
  """Fills the unknown codes of a canvas, window by window.

  Args:
    canvas: int32[N, H, W], at least as large as the grid.
    grid: (h, w), window size.
    draw: (window number, codes int32[N, h, w] with 0 where unknown, known
      bool[N, h, w]) -> int32[N, h, w], which keeps the known codes.

  Returns:
    int32[N, H, W].
  """
  canvas = canvas.copy()
  for number, corner in enumerate(canvas_windows(canvas, grid)):
    window = (slice(None), *_slices(corner, grid))
    known = canvas[window] != UNKNOWN
    canvas[window] = draw(number, np.where(known, canvas[window], 0), known)
  return canvas


def _starts(size, window):
  steps = range(0, size - window + 1, max(1, window // 2))
  return sorted({*steps, size - window})


def _slices(corner, grid):
  return tuple(slice(c, c + side) for c, side in zip(corner, grid))


def _count_known(unknown, corner, grid):
  return int((~unknown[_slices(corner, grid)]).sum())
