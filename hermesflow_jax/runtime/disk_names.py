"""Names of inputs: many lie in files, and are found and sorted there.

Memory holds as many of them as `disk_objects` and `disk_arrays` say.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import heapq

import numpy as np

from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects

# Entries of the table of names at first, a power of two.
_ROOM = 64
# Entries that a larger table takes over at once.
_COPIED = 64


class Numbers(Mapping):
  """Numbers by name, in the order in which the names were set first.

  A dict of the first `disk_objects.MOST`, and a hash table with open addresses
  in an array of the others. Threads must not set names while others read.

  Args:
    items: (name, number); of equal names the last counts, as in a dict.
  """

  def __init__(self, items: Iterable[tuple[str, int]] = ()):
    self._held = {}
    self._names, self._numbers = None, disk_arrays.Integers()
    self._table = _new_table(_ROOM)
    for name, number in items:
      self[name] = number

  def __len__(self) -> int:
    return len(self._held) + len(self._numbers)

  def __iter__(self) -> Iterator[str]:
    yield from self._held
    for place in range(len(self._numbers)):
      yield self._names.read(place)

  def __getitem__(self, name: str) -> int:
    if name in self._held:
      return self._held[name]
    entry = self._find(name)
    if entry is None or self._table[entry, 1] < 0:
      raise KeyError(name)
    return self._numbers[self._table[entry, 1]]

  def __setitem__(self, name: str, number: int) -> None:
    is_held = name in self._held
    if is_held or len(self._held) < disk_objects.MOST:
      self._held[name] = number
      return
    if self._names is None:
      self._names = disk_objects.Store()
    if 2 * len(self._numbers) >= len(self._table):
      self._enlarge()
    entry = self._find(name)
    if self._table[entry, 1] >= 0:
      self._numbers[self._table[entry, 1]] = number
      return
    self._table[entry] = hash(name), self._names.add(name)
    self._numbers.append(number)

  def setdefault(self, name: str, number: int) -> int:
    """Returns the number of a name, after setting it if there is none."""
    if name in self._held:
      return self._held[name]
    entry = self._find(name)
    if entry is None or self._table[entry, 1] < 0:
      self[name] = number
      return number
    return self._numbers[self._table[entry, 1]]

  def _find(self, name):
    """Returns the entry of a name, or the free one where it belongs."""
    if self._names is None:
      return None
    code, last = hash(name), len(self._table) - 1
    entry = code & last
    while True:
      other, place = self._table[entry].tolist()
      if place < 0 or (other == code and self._names.read(place) == name):
        return entry
      entry = (entry + 1) & last

  def _enlarge(self):
    """Makes a table with twice as many entries."""
    smaller, self._table = self._table, _new_table(2 * len(self._table))
    last = len(self._table) - 1
    for begin in range(0, len(smaller), _COPIED):
      for code, place in smaller[begin : begin + _COPIED].tolist():
        if place < 0:
          continue
        entry = code & last
        while self._table[entry, 1] >= 0:
          entry = (entry + 1) & last
        self._table[entry] = code, place


def _new_table(size: int) -> np.ndarray:
  """Returns int64[size, 2]: hash of a name, and its place or -1."""
  table = disk_arrays.empty((size, 2), np.int64)
  table[:] = -1
  return table


class ByName(Mapping):
  """Values by name.

  Args:
    places: place in `values` by name.
    values: the values.
  """

  def __init__(self, places: Mapping[str, int], values: Sequence):
    self._places, self._values = places, values

  def __len__(self) -> int:
    return len(self._places)

  def __iter__(self) -> Iterator[str]:
    return iter(self._places)

  def __getitem__(self, name: str):
    return self._values[self._places[name]]


def keep_by_name(items: Iterable[tuple[str, object]]) -> Mapping[str, object]:
  """Returns a dict of the items, or `ByName` if more than `disk_objects.MOST`.

  Args:
    items: (name, value); of equal names the last counts, as in a dict. Pickle
      must be able to write the values.
  """
  store = disk_objects.Store()
  places = Numbers((name, store.add(value)) for name, value in items)
  values = store.values()
  if isinstance(values, list):
    return {name: values[place] for name, place in places.items()}
  return ByName(places, values)


def places(names: Iterable[str]) -> Mapping[str, int]:
  """Returns the place of each name; of equal names the last.

  Args:
    names: N names.
  """
  return Numbers((name, place) for place, name in enumerate(names))


def order(names: Sequence[str]) -> np.ndarray:
  """Returns the places of names in alphabetical order, int64[N].

  Of equal names the first comes first. Memory sorts `disk_objects.MOST` at a
  time, and the sorted parts are merged.

  Args:
    names: N names, read once.
  """
  sorted_parts, spans = disk_objects.Store(), []
  for begin in range(0, len(names), disk_objects.MOST):
    span = range(begin, min(begin + disk_objects.MOST, len(names)))
    spans.append(span)
    for pair in sorted((names[place], place) for place in span):
      sorted_parts.add(pair)
  merged = heapq.merge(*(map(sorted_parts.read, span) for span in spans))
  result = disk_arrays.empty((len(names),), np.int64)
  for number, (_, place) in enumerate(merged):
    result[number] = place
  return result


def in_order(names: Iterable[str]) -> Sequence[str]:
  """Returns names in alphabetical order; many lie in a file.

  Args:
    names: taken one by one.
  """
  names = disk_objects.keep(names)
  places_in_order = order(names)
  return disk_objects.few_as_list(
    disk_objects.Computed(len(names), lambda n: names[places_in_order[n]])
  )
