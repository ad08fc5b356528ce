"""Turns of the threads that wait for Python's interpreter."""

from collections.abc import Iterator
import contextlib
import sys

# Python's default is 5 ms.
_SECONDS = 0.0005


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
  """Lets a waiting thread interrupt another after half a millisecond.

  The thread that runs batches waits for its turn after each call of the
  device. With Python's default a busy event loop keeps it waiting for 5 ms.
  """
  before = sys.getswitchinterval()
  sys.setswitchinterval(_SECONDS)
  try:
    yield
  finally:
    sys.setswitchinterval(before)
