"""Shards: parts of a long result, each written whole or not at all.

A shard is a few files and, written after them, a record with their SHA-256. A
shard is missing if its record is missing, or if a file differs from the
record. So work that stops anywhere, also by kill -9 or a full disk, loses only
the shards in progress.
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
  """A folder with shards.

  Attributes:
    folder: a `storage.path`.
    count: shards when all work is done, numbered 0 to `count` - 1.
  """

  folder: pathlib.PurePath
  count: int

  def record_of(self, number: int) -> pathlib.PurePath:
    """Returns the path to a shard's record."""
    return self.folder / f'{number:06d}.record.json'

  def path(self, number: int, suffix: str) -> pathlib.PurePath:
    """Returns the path to a shard's file."""
    return self.folder / f'{number:06d}.{suffix}'

  def write(
    self, number: int, files: Mapping[str, bytes], facts: Mapping
  ) -> None:
    """Writes a shard: its files, then its record.

    Args:
      number: shard number.
      files: contents by suffix.
      facts: JSON types to keep in the record.
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
    """Returns a shard's record, None if the shard is missing."""
    try:
      record = json.loads(self.record_of(number).read_text())
      for suffix, expected in record['sha256'].items():
        if output_files.sha256(self.path(number, suffix)) != expected:
          return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
      return None
    return record

  def read(self, number: int, suffix: str) -> bytes:
    """Returns the bytes in a shard's file."""
    return self.path(number, suffix).read_bytes()

  def missing(self, share: int = 0, shares: int = 1) -> list[int]:
    """Returns the numbers of a job's missing shards.

    Args:
      share: number of the job, 0 to `shares` - 1; shard n belongs to job
        n modulo `shares`.
      shares: number of jobs that divide the shards.
    """
    numbers = range(share, self.count, shares)
    return [number for number in numbers if self.facts(number) is None]


def shard_slices(count: int, size: int) -> Iterator[slice]:
  """Yields each shard's slice of the inputs.

  Args:
    count: inputs.
    size: inputs per shard; the last may have fewer.
  """
  for begin in range(0, count, size):
    yield slice(begin, min(begin + size, count))
