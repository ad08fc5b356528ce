"""Results of long work in shards, each of which appears whole and once.

A shard is some files and, written after them, its record: what they hold and
their SHA-256. A shard without a record, or with files that are not those of
its record, is not there. So work that is stopped anywhere, also by kill -9 or
a full disk, loses at most the shards that were in flight.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib

from hermesflow_jax.runtime import output_files


@dataclasses.dataclass(frozen=True)
class Shards:
  """A folder of shards.

  Attributes:
    folder: where they lie, a `storage.path`.
    count: how many there are when all work is done.
  """

  folder: pathlib.PurePath
  count: int

  def record_of(self, number: int) -> pathlib.PurePath:
    """Returns the path of a shard's record."""
    return self.folder / f'{number:06d}.record.json'

  def path(self, number: int, suffix: str) -> pathlib.PurePath:
    """Returns the path of one of a shard's files."""
    return self.folder / f'{number:06d}.{suffix}'

  def write(
    self, number: int, files: Mapping[str, bytes], facts: Mapping
  ) -> None:
    """Writes a shard.

    Args:
      number: of the shard.
      files: contents by suffix.
      facts: JSON types, kept in its record.
    """
    for suffix, data in files.items():
      output_files.write_atomically(self.path(number, suffix), data)
    record = dict(facts) | {
      'sha256': {
        suffix: hashlib.sha256(data).hexdigest()
        for suffix, data in files.items()
      }
    }
    output_files.write_atomically(
      self.record_of(number), json.dumps(record, sort_keys=True) + '\n'
    )

  def facts(self, number: int) -> dict | None:
    """Returns the record of a shard that is there and whole, or None."""
    try:
      record = json.loads(self.record_of(number).read_text())
      for suffix, wanted in record['sha256'].items():
        if output_files.sha256(self.path(number, suffix)) != wanted:
          return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
      return None
    return record

  def read(self, number: int, suffix: str) -> bytes:
    """Returns one of a shard's files."""
    return self.path(number, suffix).read_bytes()

  def missing(self, share: int = 0, shares: int = 1) -> list[int]:
    """Returns the shards of a share that are not there.

    Args:
      share: whose, 0 to `shares` - 1; shards are dealt in turn.
      shares: among how many the work is divided.
    """
    mine = range(share, self.count, shares)
    return [number for number in mine if self.facts(number) is None]


def shard_slices(count: int, size: int) -> Iterator[slice]:
  """Yields the slices of `count` inputs, `size` a shard."""
  for begin in range(0, count, size):
    yield slice(begin, min(begin + size, count))
