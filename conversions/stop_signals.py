"""Stop requests (Ctrl-C, SIGTERM, SIGHUP) end a command with a single line."""

import os
import signal

from hermesflow_jax.runtime import entry_point

# Exit code of a stopped command, as in `main.py`.
STOPPED = entry_point.STOPPED
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def exit_at_once() -> None:
  """Lets stop requests end the process, for the time of imports.

  A KeyboardInterrupt within an import ends in a traceback, or as another error.
  """
  _install(_exit)


def raise_interrupt() -> None:
  """Lets the first stop request raise KeyboardInterrupt, and ignores the rest.

  The remains of the command are removed without a second interruption.
  """
  _install(_raise)


def _install(handler) -> None:
  for number in SIGNALS:
    # A command under nohup keeps ignoring SIGHUP.
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, handler)


def _exit(number, frame):
  del number, frame
  os.write(2, b'stopped\n')
  os._exit(STOPPED)


def _raise(number, frame):
  del number, frame
  for other in SIGNALS:
    signal.signal(other, signal.SIG_IGN)
  raise KeyboardInterrupt
