"""Image codes of a round's candidates, read from their shards when taken."""

from collections.abc import Sequence
import io

import numpy as np

from hermesflow_jax.curation import shards

ARRAYS = 'npz'


def read_arrays(store: shards.Shards, number: int):
  """Opens the arrays of a shard, which are read when they are taken.

  Args:
    store: shards with a file of arrays each.
    number: shard number.
  """
  return np.load(io.BytesIO(store.read(number, ARRAYS)))


class ShardCodes:
  """Codes int32[N, K, I] of N inputs; memory holds those of the last shard.

  An index is a number or a slice of inputs and gives an array. `np.asarray`
  reads all codes.

  Args:
    store: shards with an array `codes` each.
    counts: inputs of each shard, N in all.
  """

  def __init__(self, store: shards.Shards, counts: Sequence[int]):
    self._store = store
    self._begins = np.cumsum([0, *counts])
    self._last = 0, read_arrays(store, 0)['codes']

  @property
  def dtype(self) -> np.dtype:
    """Type of a code."""
    return self._last[1].dtype

  @property
  def shape(self) -> tuple[int, int, int]:
    """(N, K, I)."""
    return len(self), *self._last[1].shape[1:]

  def __len__(self) -> int:
    return int(self._begins[-1])

  def __getitem__(self, index: int | slice) -> np.ndarray:
    if not isinstance(index, slice):
      number = range(len(self))[index]  # Raises IndexError behind the end.
      return self[number : number + 1][0]
    begin, end, step = index.indices(len(self))
    if step != 1:
      raise ValueError(f'codes must be taken in steps of 1, got {step}')
    first = int(np.searchsorted(self._begins, begin, 'right')) - 1
    parts = []
    while begin < end:
      start = self._begins[first]
      stop = min(end, self._begins[first + 1])
      parts.append(self._shard(first)[begin - start : stop - start])
      begin, first = stop, first + 1
    if not parts:
      return np.zeros((0, *self.shape[1:]), self.dtype)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    """Reads all codes: int32[N, K, I]."""
    del copy  # The array is always new.
    codes = self[:].copy() if self._store.count == 1 else self[:]
    return codes if dtype is None else codes.astype(dtype)

  def _shard(self, number: int) -> np.ndarray:
    """Returns the codes of a shard."""
    if self._last[0] != number:
      self._last = number, read_arrays(self._store, number)['codes']
    return self._last[1]
