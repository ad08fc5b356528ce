"""Reads byte ranges of files, so that memory holds offsets and not content."""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib

from hermesflow_jax.runtime import file_kinds
from hermesflow_jax.runtime import storage

# Bytes that a pass over a file reads at once.
CHUNK = 2**20


def read(path: pathlib.PurePath, start: int, length: int) -> bytes:
  """Returns a byte range of a file. Threads may call it at the same time.

  Args:
    path: file, a `storage.path`.
    start: offset of the first byte.
    length: number of bytes.

  Raises:
    ValueError: the file cannot be read, or ends before the range does.
  """
  if storage.is_local(path):
    with _errors(path):
      # A tenth of the time that a file object takes.
      file = os.open(path, os.O_RDONLY)
      try:
        data = os.pread(file, length, start)
      finally:
        os.close(file)
  else:
    with opened(path) as file:
      file.seek(start)
      data = file.read(length)
  if len(data) < length:
    raise ValueError(
      f'{path} must have {start + length} bytes, got {start + len(data)}; '
      'it was changed or cut, copy it again'
    )
  return data


def size(path: pathlib.PurePath) -> int:
  """Returns the length of a file in bytes.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read.
  """
  with _errors(path):
    return int(path.stat().st_size if storage.is_local(path) else _length(path))


@contextlib.contextmanager
def opened(path: pathlib.PurePath) -> Iterator:
  """Yields a file that is open for reading bytes.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read.
  """
  with _errors(path):
    try:
      file_kinds.check_regular(path)
    except ValueError as error:
      raise ValueError(f'{path} cannot be read: {error}') from error
    with path.open('rb') as file:
      yield file


def sha256(path: pathlib.PurePath) -> str:
  """Returns the SHA-256 sum of a file, which is read in chunks.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read.
  """
  with opened(path) as file:
    total = hashlib.sha256()
    while data := file.read(CHUNK):
      total.update(data)
  return total.hexdigest()


def _length(path):
  """Returns the length of an object in a bucket."""
  return storage.version_stamp(path).split()[0]


@contextlib.contextmanager
def _errors(path):
  """Turns failures of the file system into a ValueError of one line."""
  try:
    yield
  except storage.failures() as error:
    reason = getattr(error, 'strerror', None) or error
    raise ValueError(f'{path} cannot be read: {reason}') from error
