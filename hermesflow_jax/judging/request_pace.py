"""Starts requests at a steady rate, and later after a request to wait."""

from collections.abc import Callable
import threading
import time


class RequestPace:
  """A clock that all threads of a process ask before a request.

  Args:
    rate: most requests per minute; 0 for no limit.
    clock: returns seconds.
    sleep: waits for a number of seconds.
  """

  def __init__(
    self,
    rate: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
  ):
    self._interval = 60.0 / rate if rate else 0.0
    self._clock, self._sleep = clock, sleep
    self._lock, self._next = threading.Lock(), 0.0

  def wait(self) -> None:
    """Returns when the next request may start."""
    with self._lock:
      now = self._clock()
      start = max(now, self._next)
      self._next = start + self._interval
    if start > now:
      self._sleep(start - now)

  def hold(self, seconds: float) -> None:
    """Delays all further requests.

    Args:
      seconds: time from now.
    """
    with self._lock:
      self._next = max(self._next, self._clock() + seconds)
