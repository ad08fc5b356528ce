"""Stop requests (SIGTERM, SIGHUP, Ctrl-C), checked between steps of a run."""

import itertools
import os
import signal
import threading

import jax
from jax.experimental import multihost_utils

from hermesflow_jax.runtime import stop_handlers


class Stopped(KeyboardInterrupt):
  """A run stopped between steps, and can resume."""


_calls = itertools.count(1)


def _all_agree() -> bool:
  """Returns whether any process got a signal; the same in all processes.

  All processes must call it equally often.
  """
  return multihost_utils.reached_preemption_sync_point(next(_calls))


def raise_if_stopped() -> None:
  """Stops if any process got a signal; all processes must call it.

  In a run with a single process the signal itself interrupts.

  Raises:
    Stopped: a process got a signal.
  """
  if jax.process_count() > 1 and _all_agree():
    raise Stopped('stopped')


def forward_interrupts() -> None:
  """Turns Ctrl-C and SIGHUP in any process into SIGTERM, which stops all.

  JAX handles SIGTERM and informs the other processes. The second Ctrl-C stops
  at once.
  """

  def on_hangup(*_):
    os.kill(os.getpid(), signal.SIGTERM)

  def on_interrupt(*_):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.kill(os.getpid(), signal.SIGTERM)

  signal.signal(signal.SIGINT, on_interrupt)
  for number in stop_handlers.hangups():
    signal.signal(number, on_hangup)


class StopSignal:
  """Turns SIGTERM, SIGHUP and Ctrl-C into a flag; a context manager.

  The second Ctrl-C stops at once. Several processes stop after the same step,
  a few steps after the signal; see `forward_interrupts`.

  Raises:
    Stopped: at the end of the context, if a signal came and nothing else was
      raised.
  """

  def __init__(self):
    self._stop, self._before = False, {}

  def __enter__(self):
    main_thread = threading.current_thread() is threading.main_thread()
    if main_thread and jax.process_count() == 1:
      numbers = signal.SIGINT, signal.SIGTERM, *stop_handlers.hangups()
      for number in numbers:
        self._before[number] = signal.signal(number, self._on_signal)
    return self

  def __exit__(self, kind, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)
    if self._stop and kind is None:
      raise Stopped('stopped')

  def _on_signal(self, number, _):
    if self._stop and number == signal.SIGINT:
      raise KeyboardInterrupt
    self._stop = True

  def __call__(self) -> bool:
    """Returns whether to stop, the same in all processes; all must call it."""
    return self._stop if jax.process_count() == 1 else _all_agree()
