"""The wish to stop, heard where a run can stop without losing a step."""

import itertools
import os
import signal
import threading

import jax
from jax.experimental import multihost_utils


class Stopped(KeyboardInterrupt):
  """A run was stopped where it can go on."""


_calls = itertools.count(1)


def _all_agree() -> bool:
  """Whether one of several processes was told to stop, and all know it now.

  All ask equally often.
  """
  return multihost_utils.reached_preemption_sync_point(next(_calls))


def raise_if_stopped() -> None:
  """Stops here if one of several processes was told to; all call it.

  One process alone is interrupted by its signal wherever it is.

  Raises:
    Stopped: it was.
  """
  if jax.process_count() > 1 and _all_agree():
    raise Stopped('stopped')


def forward_interrupts() -> None:
  """Makes Ctrl-C in one of several processes what SIGTERM is, for all of them.

  JAX hears of SIGTERM and tells the others. The second Ctrl-C stops at once.
  """

  def hear(*_):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGTERM)

  signal.signal(signal.SIGINT, hear)


class StopSignal:
  """Turns SIGTERM and Ctrl-C into an answer; a context manager.

  The second Ctrl-C stops at once. Several processes agree on the step after
  which they stop: that of the process that was told, plus a few; see `forward_interrupts`.

  Raises:
    Stopped: on its way out, where it was told and nothing was raised.
  """

  def __init__(self):
    self._told, self._before = False, {}

  def __enter__(self):
    here = threading.current_thread() is threading.main_thread()
    if here and jax.process_count() == 1:
      for number in (signal.SIGINT, signal.SIGTERM):
        self._before[number] = signal.signal(number, self._hear)
    return self

  def __exit__(self, kind, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)
    if self._told and kind is None:
      raise Stopped('stopped')

  def _hear(self, number, _):
    if self._told and number == signal.SIGINT:
      raise KeyboardInterrupt
    self._told = True

  def __call__(self) -> bool:
    """Returns whether to stop, in all processes alike; all call it."""
    return self._told if jax.process_count() == 1 else _all_agree()
