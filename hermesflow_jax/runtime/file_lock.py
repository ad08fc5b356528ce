"""Locks of open files by `flock`, with a limit of the time to wait."""

import fcntl
import os
import queue
import threading

# Longest time for a lock, in seconds: another process holds it, or the lock
# daemon of a network file system is absent.
LONGEST = 20.0


def acquire(descriptor: int, path: os.PathLike, wait: bool) -> bool:
  """Locks an open file; its close, or the end of the process, unlocks it.

  Args:
    descriptor: of the open file.
    path: its path, for the error.
    wait: whether to wait for another process that holds the lock.

  Returns:
    False on file systems without locks.

  Raises:
    BlockingIOError: another process holds the lock, and `wait` is False.
    TimeoutError: there is no answer within `LONGEST` seconds.
  """
  operation = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
  outcomes = queue.SimpleQueue()

  def lock():
    try:
      fcntl.flock(descriptor, operation)
      outcomes.put(None)
    except OSError as error:
      outcomes.put(error)

  # Also a call that does not wait for others may wait for a daemon. The thread
  # of such a call stays until the process ends.
  threading.Thread(target=lock, daemon=True).start()
  try:
    error = outcomes.get(timeout=LONGEST)
  except queue.Empty:
    raise TimeoutError(
      f'{path} must be a file that can be locked, got no lock in '
      f'{LONGEST:g} s: another process holds it, or the lock daemon of the '
      'file system does not answer; end that process, or give a folder on '
      'another disk'
    ) from None
  if isinstance(error, BlockingIOError):
    raise error
  return error is None
