"""Handlers of stop signals; imports no JAX, to be installed at once."""

import signal
import sys


def install() -> None:
  """Makes SIGTERM act like Ctrl-C, and keeps both from getting lost.

  Python drops exceptions that are raised within a destructor or a garbage
  collection, where JAX does work. A dropped interrupt is raised again after
  0.1 s.
  """
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  signal.signal(signal.SIGALRM, signal.default_int_handler)
  report = sys.__unraisablehook__

  def raise_again(dropped):
    if issubclass(dropped.exc_type, KeyboardInterrupt):
      signal.setitimer(signal.ITIMER_REAL, 0.1)
    else:
      report(dropped)

  sys.unraisablehook = raise_again


def ignore() -> None:
  """Ignores stop signals: Python drops its handlers before the process ends."""
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  signal.signal(signal.SIGALRM, signal.SIG_IGN)
