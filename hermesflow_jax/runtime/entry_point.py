"""Runs a command: signals, standard streams, exit code; imports no JAX."""

from collections.abc import Callable
from collections.abc import Sequence
import gc
import os
import sys
from typing import NoReturn

from hermesflow_jax.runtime import output_streams
from hermesflow_jax.runtime import python_stack
from hermesflow_jax.runtime import stop_handlers

STOPPED = stop_handlers.STOPPED

# New objects between two garbage collections; Python's default is 700 or
# 2,000. Importing and tracing make many objects and hardly any cycles, so a
# command starts earlier with fewer collections (docs/performance.md).
_GC_THRESHOLD = 10_000


def prepare() -> None:
  """Protects the streams, and lets stop signals end the process at once.

  Makes garbage collections rarer, too. Called before imports that take time,
  and by `run`.
  """
  gc.set_threshold(_GC_THRESHOLD)
  if output_streams.protect():
    stop_handlers.exit_at_once()
    sys.excepthook = _report


def _report(kind, error, trace) -> None:
  """Shows an uncaught error, unless it is a stop signal while modules load."""
  if issubclass(kind, KeyboardInterrupt):
    print_error('stopped')
    os._exit(STOPPED)
  # If a disk is full, tensorstore reports each array that it could not write,
  # also after the first error was raised and has ended the event loop.
  if kind is not RuntimeError or str(error) != 'Event loop is closed':
    sys.__excepthook__(kind, error, trace)


def run(main: Callable[[Sequence[str]], int], arguments) -> NoReturn:
  """Calls a command's main function and ends the process with its exit code.

  Args:
    main: arguments -> exit code.
    arguments: the command's arguments.

  Raises:
    SystemExit: always; its code is 130 after a stop signal.
  """
  prepare()
  stop_handlers.install()
  try:
    code = python_stack.call(main, arguments)
  except KeyboardInterrupt:
    print_error('stopped')
    code = STOPPED
  except SystemExit as end:
    # Help ends so, and a wrong flag of argparse.
    code = end.code if isinstance(end.code, int) else bool(end.code)
  stop_handlers.ignore()
  sys.exit(output_streams.exit_code(code))


def print_error(line: str) -> None:
  """Prints a line on standard error.

  Args:
    line: text without a line break.
  """
  sys.stderr.write(f'{line}\n')
  sys.stderr.flush()
