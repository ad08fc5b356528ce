"""Captions that are known, in 8 bytes each; many lie in a file."""

from collections.abc import Container
from collections.abc import Iterable
import hashlib
import itertools

import numpy as np

from hermesflow_jax.runtime import disk_arrays


class CaptionSet(Container):
  """A set of captions that only says which captions it has.

  It holds 64 bits of a hash of each caption: of a million, another caption is
  taken for a known one with a probability of 5e-14.

  Args:
    captions: taken one by one.
  """

  def __init__(self, captions: Iterable[str]):
    self._hashes = disk_arrays.Integers(map(_hash, captions)).array
    self._hashes.sort()

  def __len__(self) -> int:
    """Returns the number of different captions."""
    return sum(1 for _ in itertools.groupby(self._hashes))

  def __contains__(self, caption: str) -> bool:
    value = _hash(caption)
    place = np.searchsorted(self._hashes, value)
    return bool(place < len(self._hashes) and self._hashes[place] == value)


def _hash(caption: str) -> int:
  digest = hashlib.blake2b(
    caption.encode('utf-8', 'surrogatepass'), digest_size=8
  )
  return int.from_bytes(digest.digest(), 'little', signed=True)
