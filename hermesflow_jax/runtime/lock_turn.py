"""Turns: processes that do the same work in a folder, one after another."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import math
import pathlib
import time

from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import storage

# Seconds after which a wait is reported.
_SILENT = 2.0


@contextlib.contextmanager
def wait(
  folder: pathlib.PurePath,
  name: str,
  seconds: float = math.inf,
  say: Callable[[str], None] = lambda line: None,
) -> Iterator[folder_lock.FolderLock]:
  """Waits for a lock, and holds it for the time of the context.

  Args:
    folder: folder path; it exists if it is local.
    name: lock name.
    seconds: longest time to wait.
    say: prints once who holds the lock, if that takes longer than a moment.

  Yields:
    The lock.

  Raises:
    HeldError: another process still holds it.
    OSError: see `folder_lock.FolderLock.acquire`.
  """
  first = time.monotonic()
  end, silent = first + seconds, True
  while True:
    lock, began = folder_lock.FolderLock(folder, name, say), time.monotonic()
    try:
      lock.acquire()
      break
    except folder_lock.HeldError as error:
      if silent and time.monotonic() - first > _SILENT:
        say(f'waiting for {lock.path}: {error}')
        silent = False
      took = time.monotonic() - began
      if took > seconds / 4:
        # It watched the lock of a killed process, which another took.
        end += took
      if time.monotonic() > end:
        raise
    time.sleep(0.05 if storage.is_local(folder) else 1.0)
  try:
    yield lock
  finally:
    lock.release()
