"""What is wrong with the inputs of a batch: it stops the work, or is left out."""

from collections.abc import Callable
from collections.abc import Sequence

from hermesflow_jax.runtime import terminal

# Faults that one message lists.
_SHOWN = 5
POLICIES = ('raise', 'skip')


def raise_or_report(
  faults: Sequence[str],
  left: int,
  on_error: str,
  say: Callable[[str], None],
  of: str = '',
) -> None:
  """Stops, or says what is left out: how many, and each of them.

  Args:
    faults: a line for each input that has one.
    left: how many inputs have none.
    on_error: 'raise', or 'skip' to leave those with faults out.
    say: hears the lines.
    of: where the inputs come from.

  Raises:
    ValueError: there are faults and `on_error` is 'raise', or nothing is left.
      One line with the first faults and their number.
  """
  where = f'{of}: ' if of else ''
  if faults and (on_error == 'raise' or not left):
    shown = '; '.join(faults[:_SHOWN])
    more = len(faults) - _SHOWN
    shown += f'; and {more} more' if more > 0 else ''
    raise ValueError(where + shown)
  if faults:
    say(f'{where}{len(faults)} of {len(faults) + left} left out:')
  for fault in faults:
    say(f'  {fault}')


def valid_only(
  found: Sequence[tuple[str, str]],
  on_error: str,
  what: str,
  console: terminal.Console,
) -> list[str]:
  """Returns the inputs of a batch that have no fault.

  Args:
    found: (input, its fault or '').
    on_error: 'raise', or 'skip' to leave the others out and say so.
    what: how an input is called.
    console: hears of each input that is left out, and their number.

  Raises:
    ValueError: there are faults and `on_error` is 'raise', or nothing is left.
  """
  faults = [f'{what} {name!r}: {fault}' for name, fault in found if fault]
  good = [name for name, fault in found if not fault]
  if not found:
    raise ValueError(f'no {what}')
  raise_or_report(faults, len(good), on_error, console.say)
  return good
