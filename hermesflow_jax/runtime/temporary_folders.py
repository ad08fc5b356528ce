"""Temporary folders that do not stay for ever if their process is killed.

A process holds a lock on its folder, which the system releases when the process
ends. The next command that makes such a folder removes those without a holder.
"""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile

from hermesflow_jax.runtime import file_lock

_SUFFIX = '.tmp'
# What `tempfile` adds to a prefix, so that no folder of a user has such a name.
_RANDOM = r'[a-z0-9_]{8}\.tmp'


class TemporaryFolder:
  """A folder that is removed at the end of the context.

  Attributes:
    path: the folder.

  Args:
    parent: where to make it; None for the system's temporary folder.
    prefix: first part of its name. Folders of killed processes with this first
      part are removed.

  Raises:
    OSError: the folder cannot be made.
  """

  def __init__(self, parent=None, prefix: str = 'hermesflow_jax.'):
    parent = pathlib.Path(parent or tempfile.gettempdir())
    remove_abandoned(parent, prefix)
    unlocked = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    self._lock = _lock(unlocked)
    # Only now other processes look at it.
    self.path = unlocked.rename(f'{unlocked}{_SUFFIX}')

  def close(self) -> None:
    """Removes the folder."""
    shutil.rmtree(self.path, ignore_errors=True)
    if self._lock is not None:
      os.close(self._lock)
      self._lock = None

  def __enter__(self) -> pathlib.Path:
    return self.path

  def __exit__(self, *_):
    self.close()


def remove_abandoned(parent: pathlib.Path, prefix: str) -> None:
  """Removes the temporary folders of processes that were killed.

  Args:
    parent: folder that holds them.
    prefix: first part of their names.
  """
  names = re.compile(re.escape(prefix) + _RANDOM)
  with contextlib.suppress(OSError):
    for entry in list(os.scandir(parent)):
      ours = names.fullmatch(entry.name)
      if not ours or not entry.is_dir(follow_symlinks=False):
        continue
      lock = _lock(entry.path)
      if lock is not None:
        shutil.rmtree(entry.path, ignore_errors=True)
        os.close(lock)


def _lock(folder) -> int | None:
  """Locks a folder; returns None if another process holds it, or cannot."""
  try:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  except OSError:
    return None
  try:
    locked = file_lock.acquire(descriptor, folder, wait=False)
  except OSError:
    locked = False
  if locked:
    return descriptor
  # Also on file systems without locks, where nothing is removed.
  os.close(descriptor)
  return None
