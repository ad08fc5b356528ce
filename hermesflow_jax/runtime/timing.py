"""Clocks: idle time of a device, and time of a loop by its parts."""

import collections
from collections.abc import Callable
import contextlib
import time

import jax


class DeviceClock:
  """Measures idle time of a device under asynchronous calls; a context manager.

  Attributes:
    seconds: time from the first call to the last result.
    compiled: seconds of this in calls that compiled, and between calls if
      something was compiled.
    waited: seconds of this in which the device may have been idle. A result
      that is ready at a call is assumed to have been ready since the call
      before; the start-up time of a call is not seen.
  """

  def __init__(self):
    self.seconds = self.compiled = self.waited = 0.0
    self._began = self._free = None
    self._compiles = self._seen = 0

  def __enter__(self):
    jax.monitoring.register_event_duration_secs_listener(self._listen)
    return self

  def __exit__(self, *_):
    jax.monitoring.unregister_event_duration_listener(self._listen)

  def _listen(self, event, *_, **__):
    self._compiles += 'backend_compile' in event

  def call(self, function, batch, before=None):
    """Calls a compiled function.

    Args:
      function: compiled batch function.
      batch: its argument.
      before: the previous call's result, if it was not fetched yet.
    """
    now = time.perf_counter()
    if self._began is None:
      self._began = self._free = now
    if all(a.is_ready() for a in jax.tree.leaves(before)):
      self._spent(now)
    self._free = now
    out = function(batch)
    ended = time.perf_counter()
    if self._compiles > self._seen:
      self._spent(ended)
    self._free = ended
    return out

  def _spent(self, now):
    """Counts the time since `_free`, in which the device was idle."""
    if self._compiles > self._seen:
      self.compiled += now - self._free
    else:
      self.waited += now - self._free
    self._seen = self._compiles

  def fetched(self):
    """Records that the result of the last call is on the host."""
    self._free = time.perf_counter()
    self.seconds = self._free - self._began

  def __str__(self):
    worked = self.seconds - self.compiled - self.waited
    share = self.waited / max(worked + self.waited, 1e-9)
    return (
      f'the device worked for {worked:.1f} s and waited for '
      f'{self.waited:.1f} s ({share:.1%}), beside {self.compiled:.1f} s of '
      'compiling'
    )


class Stopwatch:
  """Splits the time of a loop into named parts; a context manager.

  Tracing and compiling are a part of their own, wherever they happen; time
  outside of all parts is 'rest'.

  Attributes:
    seconds: the last lap's duration.
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
    """Counts compilation time; a listener of `jax.monitoring`.

    Args:
      event: event name.
      seconds: its duration.
    """
    if not event.startswith('/jax/core/compile/'):
      return
    end = self._now()
    begin = end - seconds
    # Tracing a function includes tracing the functions that it calls.
    while self._compilations and self._compilations[-1][0] >= begin:
      first, last = self._compilations.pop()
      self._compiled -= last - first
    self._compilations.append((begin, end))
    self._compiled += seconds

  @contextlib.contextmanager
  def part(self, name: str):
    """Counts the time of a context as a part; parts do not nest.

    Args:
      name: part name.
    """
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
    total = sum(parts.values())
    self._began, self._compiled = now, 0.0
    self._compilations.clear()
    self._parts.clear()
    return {name: spent / total for name, spent in parts.items()}
