"""What is wrong with the inputs of a batch: it stops the work, or is left out."""

from collections.abc import Callable, Sequence

# Faults that one message lists.
_SHOWN = 5
POLICIES = ('raise', 'skip')


def check_policy(on_error: str) -> None:
  """Raises ValueError for what is none of POLICIES."""
  if on_error not in POLICIES:
    raise ValueError(f"on_error is {on_error!r}, wanted 'raise' or 'skip'")


def settle(
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
