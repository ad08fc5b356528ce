"""Numbers that devices can compute with: 32 bits."""

import math

# Larger seeds would draw the numbers of smaller ones.
_MOST_INT, _MOST_FLOAT = 2**32, 3.4e38


def to_float(value: int | float) -> float:
  """Returns a number as a float, infinite if it is too large."""
  try:
    return float(value)
  except OverflowError:
    return math.inf if value > 0 else -math.inf


def violated_bound(value: int | float) -> str:
  """Returns the bound that a number violates, to follow 'must be'; '' if none.

  Args:
    value: a number.
  """
  if isinstance(value, int):
    if abs(value) < _MOST_INT:
      return ''
    return f'less than {_MOST_INT}' if value > 0 else f'more than {-_MOST_INT}'
  if not math.isfinite(value):
    return 'a finite number'
  return '' if abs(value) <= _MOST_FLOAT else 'a number of float32'
