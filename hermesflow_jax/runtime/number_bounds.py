"""Numbers that devices can compute with: 32 bits."""

import math
import operator

# Larger seeds would draw the numbers of smaller ones.
_MOST_INT, _MOST_FLOAT = 2**32, 3.4e38


def to_float(value: int | float) -> float:
  """Returns a number as a float, infinite if it is too large."""
  try:
    return float(value)
  except OverflowError:
    return math.inf if value > 0 else -math.inf


def check_seed(seed: int) -> int:
  """Returns a seed as an int.

  Args:
    seed: an int of Python or numpy.

  Raises:
    ValueError: it is no integer from 0 to 2**32 - 1; jax.random would take
      other seeds for one of these.
  """
  try:
    # bool is an int, too.
    value = -1 if isinstance(seed, bool) else operator.index(seed)
  except TypeError:
    value = -1
  if not 0 <= value < _MOST_INT:
    raise ValueError(
      f'seed must be an integer from 0 to {_MOST_INT - 1}, got {seed!r}'
    )
  return value


def seed_of_round(seed: int, number: int) -> int:
  """Returns the seed of a round; seeds beyond the largest start again from 0.

  Args:
    seed: seed of a run, from 0 to 2**32 - 1.
    number: round, at least 0.
  """
  return (seed + number) % _MOST_INT


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
