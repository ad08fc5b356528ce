"""Handlers of stop signals; imports no JAX, to be installed at once."""

import signal
import sys


def install() -> None:
  """Makes SIGTERM and SIGHUP act like Ctrl-C, and keeps them from getting lost.

  Python drops exceptions that are raised within a destructor or a garbage
  collection, where JAX does work. A dropped interrupt is raised again after
  0.1 s. SIGHUP stays ignored under nohup.
  """
  for number in (signal.SIGTERM, signal.SIGALRM, *hangups()):
    signal.signal(number, signal.default_int_handler)
  report = sys.__unraisablehook__

  def raise_again(dropped):
    if issubclass(dropped.exc_type, KeyboardInterrupt):
      signal.setitimer(signal.ITIMER_REAL, 0.1)
    else:
      report(dropped)

  sys.unraisablehook = raise_again


def hangups() -> tuple[signal.Signals, ...]:
  """Returns SIGHUP (a terminal is gone), unless nohup had it ignored."""
  if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    return ()
  return (signal.SIGHUP,)


def ignore() -> None:
  """Ignores stop signals: Python drops its handlers before the process ends."""
  for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
