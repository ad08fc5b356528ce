"""Raises or reports the faults of inputs."""

from collections.abc import Callable
from collections.abc import Sequence

from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text

# Faults listed in an error message.
_SHOWN = 10
POLICIES = ('raise', 'skip')


def raise_or_report(
  faults: Sequence[str],
  valid: int,
  on_error: str,
  say: Callable[[str], None],
  origin: str = '',
) -> None:
  """Raises faults, or reports which inputs are skipped.

  Args:
    faults: a line for each faulty input.
    valid: number of inputs without a fault.
    on_error: 'raise', or 'skip' to skip faulty inputs.
    say: receives the report, a line for each fault.
    origin: origin of the inputs, e.g. a file; begins the messages.

  Raises:
    ValueError: `on_error` is 'raise' and an input is faulty, or no input is
      valid. A single line with the first faults and their number.
  """
  where = f'{origin}: ' if origin else ''
  if on_error == 'raise' or not valid:
    raise_if_any(faults, where)
  if faults:
    say(f'{where}{len(faults)} of {len(faults) + valid} left out:')
  for fault in faults:
    say(f'  {fault}')


def raise_if_any(faults: Sequence[str], prefix: str = '') -> None:
  """Raises the first faults with their number, as a single line.

  Args:
    faults: a line for each faulty input; none raises nothing.
    prefix: begins the error.

  Raises:
    ValueError: `faults` is not empty.
  """
  if not faults:
    return
  more = len(faults) - _SHOWN
  shown = '; '.join(faults[:_SHOWN]) + (
    f'; and {more} more' if more > 0 else ''
  )
  raise ValueError(prefix + shown)


def attempt(faults: list[str], function: Callable, *arguments):
  """Calls a function; appends its ValueError to faults and returns None then.

  Args:
    faults: receives the error as text.
    function: function that checks and returns a value.
    *arguments: its arguments.
  """
  try:
    return function(*arguments)
  except ValueError as error:
    faults.append(str(error))
    return None


def valid_only(
  inputs: Sequence[tuple[str, str]],
  on_error: str,
  kind: str,
  console: terminal.Console,
) -> list[str]:
  """Returns the inputs without a fault.

  Args:
    inputs: pairs (input, fault or '').
    on_error: 'raise', or 'skip' to skip faulty inputs and report them.
    kind: noun for an input in messages, e.g. 'prompt'.
    console: receives the report.

  Raises:
    ValueError: `on_error` is 'raise' and an input is faulty, or no input is
      valid.
  """
  faults = [
    f'{kind} {user_text.quote(name)}: {fault}'
    for name, fault in inputs
    if fault
  ]
  good = [name for name, fault in inputs if not fault]
  if not inputs:
    raise ValueError(f'no {kind}')
  raise_or_report(faults, len(good), on_error, console.say)
  return good
