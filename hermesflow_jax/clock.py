"""How long a device had nothing to do, as far as its host can tell."""

import time

import jax


class Clock:
  """Follows calls that return before the device is done; a context manager.

  Attributes:
    seconds: from the first call to the last result.
    compiled: of these, in calls that compiled.
    waited: of these, when the device may have had no work. An upper bound:
      a result that was ready when it was looked at may have been so since the
      call before.
  """

  def __init__(self):
    self.seconds = self.compiled = self.waited = 0.0
    self._running, self._began, self._free, self._compiles = 0, None, None, 0

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
      function: of the batch.
      batch: its argument.
      before: the result of the call before, if it was not fetched yet.
    """
    now, compiles = time.perf_counter(), self._compiles
    if self._began is None:
      self._began = self._free = now
    if all(a.is_ready() for a in jax.tree.leaves(before)):
      self.waited += now - self._free
    out = function(batch)
    self._free = time.perf_counter()
    if self._compiles > compiles:
      self.compiled += self._free - now
    return out

  def fetched(self):
    """Marks that the last call's result has come."""
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
