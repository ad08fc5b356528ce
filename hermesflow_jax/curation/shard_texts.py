"""Texts of a round's candidates, read from their shards when taken."""

from collections.abc import Iterator
from collections.abc import Sequence
import json
import sys

import numpy as np

from hermesflow_jax.curation import shards

LINES = 'jsonl'


def read_rows(store: shards.Shards, number: int) -> Iterator[dict]:
  """Yields the JSON objects of a shard.

  Args:
    store: shards with a file of JSON lines each.
    number: shard number.
  """
  for line in store.read(number, LINES).decode().split('\n'):
    if line:
      yield json.loads(line)


class ShardTexts(Sequence):
  """A field of N inputs; memory holds the values of the last shard.

  Args:
    store: shards with a file of JSON lines each.
    counts: inputs of each shard, N in all.
    field: name of the field.
    repeated: whether equal texts of all inputs are an object in memory, for
      texts that occur often.
  """

  def __init__(
    self,
    store: shards.Shards,
    counts: Sequence[int],
    field: str,
    repeated: bool = False,
  ):
    self._store, self._field, self._repeated = store, field, repeated
    self._begins = np.cumsum([0, *counts])
    self._last = -1, []

  def __len__(self) -> int:
    return int(self._begins[-1])

  def __getitem__(self, index: int | slice):
    if isinstance(index, slice):
      return [self[n] for n in range(len(self))[index]]
    place = range(len(self))[index]  # Raises IndexError behind the end.
    number = int(np.searchsorted(self._begins, place, 'right')) - 1
    if self._last[0] != number:
      rows = [row[self._field] for row in read_rows(self._store, number)]
      self._last = number, _shared(rows) if self._repeated else rows
    return self._last[1][place - self._begins[number]]

  def __eq__(self, other) -> bool:
    if not isinstance(other, Sequence):
      return NotImplemented
    return len(self) == len(other) and all(a == b for a, b in zip(self, other))

  __hash__ = None


def _shared(value):
  """Returns a value whose equal texts are an object in memory."""
  if isinstance(value, list):
    return [_shared(item) for item in value]
  return sys.intern(value)
