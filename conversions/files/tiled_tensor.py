"""Tensors that several processes have saved in parts."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from conversions.files import tensors

# (first index along each axis, index after the last)
Box = tuple[tuple[int, ...], tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class TiledTensor(tensors.Tensor):
  """A tensor of parts, each a box of its elements.

  Attributes:
    shape: tensor shape.
    dtype: element type of all parts.
    parts: (index of the first element along each axis, tensor) of each part
      with elements.

  Raises:
    ValueError: a part has another type, or the parts leave out elements, hold
      elements twice or leave the tensor.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  parts: tuple[tuple[tuple[int, ...], tensors.Tensor], ...]

  def __post_init__(self):
    if len(self.shape) > tensors.MAX_AXES:
      raise ValueError(f'it has {len(self.shape)} axes')
    if any(part.dtype != self.dtype for _, part in self.parts):
      raise ValueError(f'all parts of a tensor must be {self.dtype}')
    if any(
      not len(start) == len(part.shape) == len(self.shape)
      for start, part in self.parts
    ):
      raise ValueError(f'all parts must have {len(self.shape)} axes')
    boxes = [_box(start, part.shape) for start, part in self.parts]
    region = ((0,) * len(self.shape), self.shape)
    filled = (
      _fill(region, boxes, 2 * len(self.shape)) if self.size else not boxes
    )
    if not filled:
      raise ValueError(
        f'its {len(boxes)} parts must fill shape {self.shape!r:.99} without '
        'gaps and overlaps'
      )

  def read(self) -> np.ndarray:
    """Returns a C-contiguous copy, read part by part.

    Raises:
      ValueError: a file has become shorter.
    """
    if len(self.parts) == 1:
      return self.parts[0][1].read()
    values = np.empty(self.shape, self.dtype)
    for start, part in self.parts:
      box = zip(*_box(start, part.shape))
      values[tuple(slice(*ends) for ends in box)] = part.read()
    return values


def _box(start, shape) -> Box:
  return tuple(start), tuple(first + n for first, n in zip(start, shape))


def _fill(region: Box, boxes: Sequence[Box], cuts: int) -> bool:
  """Returns whether boxes fill a region exactly.

  The region is cut along an axis where no box crosses the cut, then each slab
  along another axis, as processes divide a tensor.

  Args:
    region: region.
    boxes: boxes with elements.
    cuts: number of axes that may be cut after each other.
  """
  if len(boxes) == 1:
    return boxes[0] == region
  start, stop = region
  for axis in range(len(start)):
    slabs = _slabs(boxes, axis)
    if len(slabs) < 2:
      continue
    edges = [min(box[0][axis] for box in slab) for slab in slabs]
    if not cuts or edges[0] != start[axis]:
      return False
    edges.append(stop[axis])
    return all(
      _fill(
        (
          (*start[:axis], edges[i], *start[axis + 1 :]),
          (*stop[:axis], edges[i + 1], *stop[axis + 1 :]),
        ),
        slab,
        cuts - 1,
      )
      for i, slab in enumerate(slabs)
    )
  return False


def _slabs(boxes: Sequence[Box], axis: int) -> list[list[Box]]:
  """Groups boxes that overlap along an axis, in order."""
  slabs, end = [], None
  for box in sorted(boxes, key=lambda box: box[0][axis]):
    if end is None or box[0][axis] >= end:
      slabs.append([box])
      end = box[1][axis]
    else:
      slabs[-1].append(box)
      end = max(end, box[1][axis])
  return slabs
