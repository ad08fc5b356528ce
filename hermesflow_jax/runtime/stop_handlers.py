"""Handlers of stop signals; imports no JAX, to be installed at once."""

from collections.abc import Iterator
import contextlib
import os
import signal
import sys
import threading

# Exit code of a stopped command.
STOPPED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def exit_at_once() -> None:
  """Makes stop signals end the process, for the time of imports.

  A KeyboardInterrupt within an import ends in a traceback, or as another error.
  """
  for number in _not_ignored():
    signal.signal(number, _exit)


def _exit(number, frame):
  del number, frame
  with contextlib.suppress(OSError):  # The terminal may be gone.
    os.write(2, b'stopped\n')
  os._exit(STOPPED)


def install() -> None:
  """Makes SIGTERM and SIGHUP act like Ctrl-C, and keeps them from getting lost.

  Python drops exceptions that are raised within a destructor or a garbage
  collection, where JAX does work. A dropped interrupt is raised again after
  0.1 s. Signals that are ignored stay so: SIGHUP under nohup, Ctrl-C in the
  background.
  """
  for number in (signal.SIGTERM, signal.SIGALRM, *_not_ignored()):
    signal.signal(number, signal.default_int_handler)
  report = sys.__unraisablehook__

  def raise_again(dropped):
    if issubclass(dropped.exc_type, KeyboardInterrupt):
      signal.setitimer(signal.ITIMER_REAL, 0.1)
    else:
      report(dropped)

  sys.unraisablehook = raise_again


@contextlib.contextmanager
def single_interrupt() -> Iterator[None]:
  """Makes the first stop signal raise KeyboardInterrupt, and ignores the rest.

  So a command that was stopped removes what it had begun to write. Only the
  main thread can handle signals: in others nothing changes.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.getsignal(number) for number in _not_ignored()}

  def interrupt(number, frame):
    del number, frame
    for other in before:
      signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt

  for number in before:
    signal.signal(number, interrupt)
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def hangups() -> tuple[signal.Signals, ...]:
  """Returns SIGHUP (a terminal is gone), unless nohup had it ignored."""
  return tuple(n for n in _not_ignored() if n == signal.SIGHUP)


def ignore() -> None:
  """Ignores stop signals: Python drops its handlers before the process ends."""
  for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)


def _not_ignored() -> list[signal.Signals]:
  """Returns the stop signals that are not ignored.

  A handler of compiled code, which Python does not know, is left alone.
  """
  unchanged = (signal.SIG_IGN, None)
  return [n for n in SIGNALS if signal.getsignal(n) not in unchanged]
