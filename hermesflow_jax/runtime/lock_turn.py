"""Turns: processes that do the same work in a folder, one after another."""

from collections.abc import Iterator
import contextlib
import math
import pathlib
import time

from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import storage


@contextlib.contextmanager
def wait(
  folder: pathlib.PurePath, name: str, seconds: float = math.inf
) -> Iterator[None]:
  """Waits for a lock, and holds it for the time of the context.

  Args:
    folder: folder path; it exists if it is local.
    name: lock name.
    seconds: longest time to wait.

  Raises:
    HeldError: another process still holds it.
    OSError: see `folder_lock.FolderLock.acquire`.
  """
  end = time.monotonic() + seconds
  while True:
    lock, began = folder_lock.FolderLock(folder, name), time.monotonic()
    try:
      lock.acquire()
      break
    except folder_lock.HeldError:
      took = time.monotonic() - began
      if took > seconds / 4:
        # It watched the lock of a killed process, which another took.
        end += took
      if time.monotonic() > end:
        raise
    time.sleep(0.05 if storage.is_local(folder) else 1.0)
  try:
    yield
  finally:
    lock.release()
