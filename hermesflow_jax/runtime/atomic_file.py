"""Local files that appear only when they are complete."""

import contextlib
import fcntl
import os
import pathlib
import typing


def write(path: pathlib.Path, data: bytes) -> None:
  """Writes a file under a temporary name, and renames it.

  Processes that write the same file take turns: the temporary file is locked
  until it has its name.

  Args:
    path: file path; its folder exists.
    data: its content.

  Raises:
    OSError: the file cannot be written, e.g. because the disk is full.
  """
  # A fixed name, so that the file of a killed process is overwritten.
  temporary = path.with_name(path.name + '.tmp')
  try:
    with _open_locked(temporary) as file:
      try:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.replace(temporary, path)
      except OSError:
        # A full disk gets its space back.
        if is_at(file.fileno(), temporary):
          temporary.unlink(missing_ok=True)
        raise
  except OSError as error:
    error.filename = error.filename or str(path)  # A write does not name it.
    raise


def is_at(descriptor: int, path: pathlib.Path) -> bool:
  """Returns whether a path still names an open file.

  Args:
    descriptor: of the open file.
    path: file path.
  """
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except FileNotFoundError:
    return False


def _open_locked(path: pathlib.Path) -> typing.BinaryIO:
  """Opens an empty file that no other process writes."""
  while True:
    file = open(path, 'ab')  # noqa: SIM115
    try:
      # File systems without locks: the last writer wins.
      with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)
      if is_at(file.fileno(), path):
        file.truncate(0)
        return file
    except BaseException:
      file.close()
      raise
    # Another process has renamed the file since it was opened.
    file.close()
