"""Parts of a tensor fill it exactly, or are refused."""

import pathlib

import numpy as np
import pytest

from conversions.files import tensors
from conversions.files import tiled_tensor


def part(path, start, shape):
  """Returns a part of the tensor 0, 1, 2, ... of shape (6, 6) in a file."""
  strides = (6, 1)
  offset = start[0] * 6 + start[1]
  return tensors.StridedTensor(
    path, np.dtype(np.int16), 0, 36, shape, strides, offset
  )


def joined(path, boxes):
  """Returns the tensor of boxes (first row, first column, rows, columns)."""
  parts = tuple((box[:2], part(path, box[:2], tuple(box[2:]))) for box in boxes)
  return tiled_tensor.TiledTensor((6, 6), np.dtype(np.int16), parts)


@pytest.mark.parametrize(
  'boxes',
  [
    [(0, 0, 6, 6)],
    [(2, 0, 4, 6), (0, 0, 2, 6)],
    [(0, 4, 6, 2), (0, 0, 6, 3), (0, 3, 6, 1)],
    # Two axes, evenly and with other cuts in each column.
    [(i, j, 3, 2) for i in (0, 3) for j in (0, 2, 4)],
    [(0, 0, 2, 4), (2, 0, 4, 4), (0, 4, 5, 2), (5, 4, 1, 2)],
  ],
)
def test_parts_come_to_their_places(tmp_path, boxes):
  path = tmp_path / 'x'
  path.write_bytes(np.arange(36, dtype=np.int16).tobytes())
  actual = joined(path, boxes).read()
  np.testing.assert_array_equal(actual, np.arange(36).reshape(6, 6))
  for i in range(len(boxes)):
    with pytest.raises(ValueError, match='without gaps and overlaps'):
      joined(path, boxes[:i] + boxes[i + 1 :])
    with pytest.raises(ValueError, match='without gaps and overlaps'):
      joined(path, [*boxes, boxes[i]])


def test_parts_are_accepted_only_if_each_element_lies_in_one():
  """Compared with counting, on random boxes; pinwheels are refused."""
  rng, accepted = np.random.default_rng(0), 0
  for _ in range(400):
    cuts = [0, *np.sort(rng.choice(np.arange(1, 6), 2, replace=False)), 6]
    boxes = []
    for low, high in zip(cuts, cuts[1:]):
      middle = int(rng.integers(1, 6))
      boxes.append((int(low), 0, int(high - low), middle))
      boxes.append((int(low), middle, int(high - low), 6 - middle))
    if rng.random() < 0.6:
      i, axis = rng.integers(len(boxes)), rng.integers(2)
      moved = list(boxes[i])
      moved[axis + 2] -= 1 if moved[axis + 2] > 1 else 0
      moved[axis] += int(rng.integers(0, 2))
      boxes[i] = tuple(moved)
    counts = np.zeros((7, 7), int)
    for row, column, rows, columns in boxes:
      counts[row : row + rows, column : column + columns] += 1
    exact = (counts[:6, :6] == 1).all() and counts.sum() == 36
    try:
      joined(pathlib.Path('x'), boxes)
      assert exact, boxes
      accepted += 1
    except ValueError:
      assert not exact, boxes
  assert 100 < accepted < 300


def test_cuts_that_cross_are_refused(tmp_path):
  pinwheel = [(0, 0, 2, 4), (0, 4, 4, 2), (4, 2, 2, 4), (2, 0, 4, 2)]
  with pytest.raises(ValueError, match='without gaps and overlaps'):
    joined(tmp_path / 'x', [*pinwheel, (2, 2, 2, 2)])


def test_many_parts_are_checked_at_once(tmp_path):
  """4,000 processes are 8 million pairs of parts."""
  one = tensors.StridedTensor(
    tmp_path / 'x', np.dtype(np.int8), 0, 1, (1,), (1,)
  )
  parts = tuple(((n,), one) for n in range(4_000))
  tiled_tensor.TiledTensor((4_000,), np.dtype(np.int8), parts)


def test_a_scalar_has_a_single_part(tmp_path):
  one = tensors.StridedTensor(tmp_path / 'x', np.dtype(np.int8), 0, 1, (), ())
  tiled_tensor.TiledTensor((), np.dtype(np.int8), (((), one),))
  for parts in ((), (((), one), ((), one))):
    with pytest.raises(ValueError, match='without gaps and overlaps'):
      tiled_tensor.TiledTensor((), np.dtype(np.int8), parts)
