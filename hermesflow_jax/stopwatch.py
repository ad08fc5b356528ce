"""Where the time of a run goes."""

import collections
from collections.abc import Callable
import contextlib
import time

import jax


class Stopwatch:
  """Sorts time into parts; a context manager.

  What tracing and compiling take is a part of its own, wherever it happens;
  what is in no part is the rest.

  Attributes:
    seconds: of the last lap.
  """

  def __init__(self, now: Callable[[], float] = time.perf_counter):
    self._now = now
    self._parts = collections.Counter()
    self._compiled = 0.0
    self._compilations = []  # (begin, end), none within another.
    self._began = now()
    self.seconds = 0.0

  def __enter__(self):
    jax.monitoring.register_event_duration_secs_listener(self.listen)
    self._began = self._now()
    return self

  def __exit__(self, *_):
    jax.monitoring.unregister_event_duration_listener(self.listen)

  def listen(self, event: str, seconds: float, **_) -> None:
    """Hears from JAX how long something took."""
    if not event.startswith('/jax/core/compile/'):
      return
    end = self._now()
    begin = end - seconds
    # The tracing of a function has that of those it calls within it.
    while self._compilations and self._compilations[-1][0] >= begin:
      first, last = self._compilations.pop()
      self._compiled -= last - first
    self._compilations.append((begin, end))
    self._compiled += seconds

  @contextlib.contextmanager
  def part(self, name: str):
    """Counts the time within as this part's; parts do not nest."""
    began, compiled = self._now(), self._compiled
    try:
      yield
    finally:
      inside = self._compiled - compiled
      self._parts[name] += max(0.0, self._now() - began - inside)

  def lap(self) -> dict[str, float]:
    """Returns the share of each part since the last lap; their sum is 1."""
    now = self._now()
    self.seconds = max(now - self._began, 1e-9)
    parts = dict(self._parts) | {'compile': self._compiled}
    parts['rest'] = max(0.0, self.seconds - sum(parts.values()))
    whole = sum(parts.values())
    self._began, self._compiled = now, 0.0
    self._compilations.clear()
    self._parts.clear()
    return {name: spent / whole for name, spent in parts.items()}
