"""Captions that are known, in 8 bytes each."""

from collections.abc import Container
from collections.abc import Iterable
import hashlib

import numpy as np


class CaptionSet(Container):
  """A set of captions that only says which captions it has.

  Memory holds 64 bits of a hash of each caption: of a million, another caption
  is taken for a known one with a probability of 5e-14.

  Args:
    captions: taken one by one.
  """

  def __init__(self, captions: Iterable[str]):
    self._hashes = np.unique(np.fromiter(map(_hash, captions), np.uint64))

  def __len__(self) -> int:
    """Returns the number of different captions."""
    return len(self._hashes)

  def __contains__(self, caption: str) -> bool:
    value = np.uint64(_hash(caption))
    place = np.searchsorted(self._hashes, value)
    return bool(place < len(self._hashes) and self._hashes[place] == value)


def _hash(caption: str) -> int:
  digest = hashlib.blake2b(
    caption.encode('utf-8', 'surrogatepass'), digest_size=8
  )
  return int.from_bytes(digest.digest(), 'little')
