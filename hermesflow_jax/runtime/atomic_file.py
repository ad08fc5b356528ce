"""Local files that appear only when they are complete."""

from collections.abc import Iterator
import contextlib
import errno
import os
import pathlib
import stat
import typing
import uuid

from hermesflow_jax.runtime import file_lock

_SUFFIX = '.tmp'
# A link is not followed, and a pipe is not waited for.
_FLAGS = (
  os.O_WRONLY
  | os.O_CREAT
  | os.O_APPEND
  | os.O_CLOEXEC
  | os.O_NOFOLLOW
  | os.O_NONBLOCK
)
# Errors of links and pipes under these flags.
_NO_FILE = (errno.ELOOP, errno.ENXIO)


def write(path: pathlib.Path, data: bytes) -> None:
  """Writes a file under a temporary name, and renames it.

  Args:
    path: file path; its folder exists.
    data: its content.

  Raises:
    OSError: see `replacing`.
  """
  with replacing(path) as file:
    file.write(data)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[typing.BinaryIO]:
  """Yields an empty temporary file, which gets its name at the end.

  Processes that write the same file take turns: the temporary file is locked
  until it has its name. On file systems without locks each process has a
  temporary file of its own, and the last writer wins.

  Args:
    path: file path; its folder exists.

  Yields:
    The open file. After an error it is removed.

  Raises:
    OSError: the file cannot be written, e.g. because the disk is full, or
      another process holds it for too long.
  """
  try:
    file, temporary = _open_locked(path)
    with file:
      try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        os.replace(temporary, path)
      except BaseException:
        # A full disk gets its space back.
        if is_at(file.fileno(), temporary):
          temporary.unlink(missing_ok=True)
        raise
  except OSError as error:
    if error.errno is not None and not error.filename:
      error.filename = str(path)  # A write does not name it.
    raise


def is_at(descriptor: int, path: pathlib.Path) -> bool:
  """Returns whether a path still names an open file.

  Args:
    descriptor: of the open file.
    path: file path; a link is not followed.
  """
  try:
    return os.path.samestat(os.fstat(descriptor), os.lstat(path))
  except FileNotFoundError:
    return False


def _open_locked(path: pathlib.Path) -> tuple[typing.BinaryIO, pathlib.Path]:
  """Opens an empty file that no other process writes; also returns its path."""
  # A fixed name, so that the file of a killed process is overwritten.
  temporary = path.with_name(path.name + _SUFFIX)
  while True:
    descriptor = _open_plain(temporary)
    try:
      locked = file_lock.acquire(descriptor, temporary, wait=True)
      if is_at(descriptor, temporary):
        if locked:
          os.truncate(descriptor, 0)
          return os.fdopen(descriptor, 'ab'), temporary
        temporary.unlink(missing_ok=True)
    except BaseException:
      os.close(descriptor)
      raise
    os.close(descriptor)
    if not locked:
      own = path.with_name(f'{path.name}.{uuid.uuid4().hex}{_SUFFIX}')
      return os.fdopen(os.open(own, _FLAGS | os.O_EXCL, 0o666), 'ab'), own
    # Another process has renamed the file since it was opened.


def _open_plain(path: pathlib.Path) -> int:
  """Opens a file for writing; a link or a pipe of this name is removed."""
  while True:
    try:
      descriptor = os.open(path, _FLAGS, 0o666)
    except OSError as error:
      if error.errno not in _NO_FILE:
        raise
      path.unlink(missing_ok=True)
      continue
    status = os.fstat(descriptor)
    # A second name of the file would get the new content, too.
    if stat.S_ISREG(status.st_mode) and status.st_nlink < 2:
      return descriptor
    os.close(descriptor)
    path.unlink(missing_ok=True)
