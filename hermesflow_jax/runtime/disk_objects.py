"""Objects that grow with the number of inputs: many of them lie in a file.

Memory holds the first `MOST` of them. The file of the others has no name. It is
in the folder for temporary files (TMPDIR), and goes away with them. If the disk
has no space, memory holds the others, too.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import os
import pickle
import tempfile
import weakref

import numpy as np

from hermesflow_jax.runtime import disk_arrays

# Objects that memory holds: records of texts take some 50 MB.
MOST = 10_000


class Computed(Sequence):
  """Values that are made when they are taken.

  Args:
    count: N.
    make: number in [0, N) -> its value, the same in each call.
  """

  def __init__(self, count: int, make: Callable[[int], object]):
    self._numbers, self._make = range(count), make

  def __len__(self) -> int:
    return len(self._numbers)

  def __getitem__(self, index: int | slice):
    """Returns a value; of a slice `Computed`, without making its values."""
    if isinstance(index, slice):
      chosen = self._numbers[index]
      return Computed(len(chosen), lambda n: self._make(chosen[n]))
    return self._make(self._numbers[index])

  def __eq__(self, other) -> bool:
    if not isinstance(other, Sequence):
      return NotImplemented
    return len(self) == len(other) and all(a == b for a, b in zip(self, other))

  __hash__ = None


def few_as_list(values: Sequence) -> Sequence:
  """Returns a list of the values, or themselves if more than `MOST`."""
  return list(values) if len(values) <= MOST else values


def joined(parts: Sequence[Sequence]) -> Sequence:
  """Returns the values of all parts, which are made when they are taken.

  Args:
    parts: sequences.
  """
  ends = np.cumsum([len(part) for part in parts])

  def value_at(number):
    part = int(np.searchsorted(ends, number, 'right'))
    return parts[part][number - int(ends[part]) + len(parts[part])]

  return Computed(int(ends[-1]) if len(ends) else 0, value_at)


def keep(values: Iterable) -> Sequence:
  """Returns a list of the values, or `Computed` if more than `MOST`.

  A value that is read from the file is a copy, so it must not be changed.

  Args:
    values: what pickle can write, taken one by one.
  """
  store = Store()
  for value in values:
    store.add(value)
  return store.values()


class Store:
  """Objects that are added one by one, the first `MOST` in memory."""

  def __init__(self):
    self._held, self._file = [], None
    self._ends = disk_arrays.Integers([0])
    self._without_space = {}

  def __len__(self) -> int:
    return len(self._held) + len(self._ends) - 1

  def add(self, value) -> int:
    """Adds an object that pickle can write; returns its place."""
    place = len(self)
    if place < MOST:
      self._held.append(value)
      return place
    data = memoryview(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    end = self._ends[-1] + len(data)
    try:
      if self._file is None:
        with tempfile.TemporaryFile() as file:
          self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
      while data:
        written = os.pwrite(self._file, data, end - len(data))
        data = data[written:]
    except OSError:
      self._without_space[place], end = value, self._ends[-1]
    self._ends.append(end)
    return place

  def values(self) -> Sequence:
    """Returns all objects."""
    if len(self._ends) == 1:
      return self._held
    return Computed(len(self), self.read)

  def read(self, place: int):
    """Returns the object at a place; threads may read at once."""
    if place < len(self._held):
      return self._held[place]
    if place in self._without_space:
      return self._without_space[place]
    first = place - len(self._held)
    begin, end = self._ends[first : first + 2].tolist()
    return pickle.loads(os.pread(self._file, end - begin, begin))
