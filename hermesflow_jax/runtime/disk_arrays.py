"""Arrays that grow with the number of inputs: large ones lie in a file."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import math
import operator
import os
import tempfile

import numpy as np

# Bytes of an array that memory holds; a larger one lies in a file.
MOST_BYTES = 2**28
# Rows of an array that `take` copies at once.
_COPIED = 1024
# Integers for which `Integers` has room at first.
_ROOM = 16


def empty(shape: Sequence[int], dtype) -> np.ndarray:
  """Returns a new array without values.

  A large array is mapped from a file without a name in the folder for temporary
  files (TMPDIR), which goes away with the array. The system takes its pages
  from memory when it needs memory. If the disk has no space for it, memory
  holds the array.

  Args:
    shape: its shape.
    dtype: its type.
  """
  if _bytes(shape, dtype) <= MOST_BYTES:
    return np.empty(shape, dtype)
  return _in_file(shape, dtype)


def stack(rows: Sequence[np.ndarray]) -> np.ndarray:
  """Returns what `np.stack` returns, in a file if it is large.

  Args:
    rows: at least one array; all have the shape and the type of the first.

  Raises:
    ValueError: there is no row, or one has another shape.
  """
  if not rows:
    raise ValueError('rows must have at least one array, got none')
  first = np.asarray(rows[0])
  array = empty((len(rows), *first.shape), first.dtype)
  for n, row in enumerate(rows):
    if np.shape(row) != first.shape:
      raise ValueError(
        f'rows must have shape {first.shape}, got {np.shape(row)}'
      )
    array[n] = row
  return array


def join(arrays: Sequence[np.ndarray]) -> np.ndarray:
  """Returns what `np.concatenate` returns, in a file if it is large.

  Args:
    arrays: at least one; all have the type of the first, and its shape but for
      the first axis.
  """
  first = arrays[0]
  joined = empty((sum(map(len, arrays)), *first.shape[1:]), first.dtype)
  end = 0
  for array in arrays:
    joined[end : end + len(array)] = array
    end += len(array)
  return joined


def join_fields(
  parts: Iterable[Mapping[str, np.ndarray]], count: int, fields: Sequence[str]
) -> dict[str, np.ndarray]:
  """Returns what `np.concatenate` returns of each field, in files if large.

  Args:
    parts: arrays by field, taken one by one; all have the types of the first,
      and its shapes but for the first axis.
    count: sum of their first axes.
    fields: names of the arrays to join.

  Raises:
    ValueError: a part has other shapes or types, or more rows than remain.
  """
  joined, end = {}, 0
  for part in parts:
    arrays = [part[field] for field in fields]
    begin, end = end, end + len(arrays[0])
    if {len(array) for array in arrays} != {end - begin}:
      raise ValueError('fields of a part must have as many rows as the first')
    for field, array in zip(fields, arrays, strict=True):
      if field not in joined:
        joined[field] = empty((count, *array.shape[1:]), array.dtype)
      if array.dtype != joined[field].dtype:
        first = joined[field].dtype
        raise ValueError(f'{field} must be {first}, got {array.dtype}')
      joined[field][begin:end] = array
  if end != count:
    raise ValueError(f'parts must have {count} rows, got {end}')
  return joined


def take(array: np.ndarray, places: Sequence[int]) -> np.ndarray:
  """Returns `array[places]`, in a file if it is large.

  Args:
    array: with a first axis.
    places: along this axis.
  """
  places = np.asarray(places, int)
  taken = empty((len(places), *array.shape[1:]), array.dtype)
  for begin in range(0, len(places), _COPIED):
    part = slice(begin, begin + _COPIED)
    taken[part] = array[places[part]]
  return taken


class Integers(Sequence):
  """Integers that are added one by one; many lie in a file.

  Args:
    values: the first of them.
    dtype: their type.
  """

  def __init__(self, values: Iterable[int] = (), dtype=np.int64):
    self._room, self._count = empty((_ROOM,), dtype), 0
    for value in values:
      self.append(value)

  def append(self, value: int) -> None:
    """Adds an integer."""
    if self._count == len(self._room):
      larger = empty((2 * self._count,), self._room.dtype)
      larger[: self._count] = self._room
      self._room = larger
    self._room[self._count] = operator.index(value)
    self._count += 1

  def extend(self, values: Sequence[int]) -> None:
    """Adds integers."""
    for value in values:
      self.append(value)

  @property
  def array(self) -> np.ndarray:
    """All of them, without a copy."""
    return self._room[: self._count]

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int | slice):
    """Returns an integer; of a slice an array."""
    value = self.array[index]
    return value if isinstance(index, slice) else int(value)

  def __setitem__(self, index: int, value: int) -> None:
    self.array[index] = value

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return np.array(self.array, dtype, copy=copy)


def _bytes(shape, dtype) -> int:
  return math.prod(shape) * np.dtype(dtype).itemsize


def _in_file(shape, dtype) -> np.ndarray:
  try:
    with tempfile.TemporaryFile() as file:
      # A disk that is full later would kill the process.
      os.posix_fallocate(file.fileno(), 0, _bytes(shape, dtype))
      return np.memmap(file, dtype, 'r+', shape=tuple(shape)).view(np.ndarray)
  except (OSError, AttributeError):  # The latter on systems without it.
    return np.empty(shape, dtype)
