"""Replies of a judge in a folder of JSON lines, which later starts read.

A process appends to its own file, `replies-<process>.jsonl`, and reads all
files, so the number of processes may change. A line that a kill has cut is
skipped. Objects of a bucket cannot grow: there, each group of replies becomes
an object.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import errno
import json
import os
import pathlib

from hermesflow_jax.runtime import storage

# Replies in an object of a bucket.
_GROUP = 200
_FIELDS = {
  'key': str,
  'reply': str,
  'requests': int,
  'retries': int,
  'prompt_tokens': int,
  'completion_tokens': int,
  'seconds': float,
}


class AnswerCache:
  """Replies by key.

  Args:
    folder: folder, local or in a bucket; it is made with the first reply.
    process: number of this process.
  """

  def __init__(self, folder: pathlib.PurePath, process: int = 0):
    self._folder, self._process = folder, process
    self._records, self.damaged = {}, 0
    self._unwritten, self._number = [], 0
    names = storage.list_names(folder)
    for name in sorted(names):
      if name.startswith('replies-') and name.endswith('.jsonl'):
        self._read(folder / name)

  def __len__(self):
    return len(self._records)

  def get(self, key: str) -> dict | None:
    """Returns the record of a reply; None if it is not known."""
    return self._records.get(key)

  def remember(self, records: Sequence[Mapping]) -> None:
    """Adds replies that another process wrote, without writing them.

    Args:
      records: JSON objects with the fields `_FIELDS`.
    """
    self._records |= {record['key']: dict(record) for record in records}

  def put(self, records: Sequence[Mapping]) -> None:
    """Adds replies; a kill or a full disk loses at most these.

    Args:
      records: JSON objects with the fields `_FIELDS`.

    Raises:
      OSError: the file cannot be written, e.g. because the disk is full.
    """
    self.remember(records)
    lines = [json.dumps(record) + '\n' for record in records]
    if not storage.is_local(self._folder):
      self._unwritten += lines
      if len(self._unwritten) >= _GROUP:
        self.flush()
      return
    storage.make_folder(self._folder)
    path = self._folder / f'replies-{self._process:05d}.jsonl'
    with open(path, 'a+b', buffering=0) as file:
      data = ''.join(lines).encode()
      # A line that was cut by a kill ends before the next begins.
      if file.seek(0, os.SEEK_END) and not _ends_line(file):
        data = b'\n' + data
      if file.write(data) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

  def flush(self) -> None:
    """Writes replies that wait for an object of a bucket."""
    if not self._unwritten:
      return
    data = ''.join(self._unwritten).encode()
    while not storage.create(
      self._folder / f'replies-{self._process:05d}-{self._number:06d}.jsonl',
      data,
    ):
      self._number += 1
    self._unwritten = []

  def _read(self, path):
    for line in path.read_bytes().split(b'\n'):
      if not line:
        continue
      try:
        record = json.loads(line)
        for name, kind in _FIELDS.items():
          if not isinstance(record[name], kind):
            raise TypeError(name)
      except (ValueError, KeyError, TypeError, RecursionError):
        self.damaged += 1
        continue
      # As in the run that wrote it: a reply that came later counts.
      self._records[record['key']] = record


def _ends_line(file) -> bool:
  file.seek(-1, os.SEEK_END)
  return file.read(1) == b'\n'
