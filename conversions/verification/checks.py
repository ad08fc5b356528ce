"""What is compared with a file of activations, and how it went."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Check:
  """One key of the file that can be computed.

  Attributes:
    needs: keys of the file it is computed from.
    tolerance: largest absolute difference; 0 for what must be equal.
    compute: returns the array that the key should hold.
    also_input: whether the key may stand there as an input alone, when what
      it is made from does not.
  """

  needs: tuple[str, ...]
  tolerance: float
  compute: Callable[[], np.ndarray]
  also_input: bool = False


@dataclasses.dataclass(frozen=True)
class Line:
  """How the comparison of one key went.

  Attributes:
    key: of the file.
    passed: None where nothing was compared.
    said: the rest of the line.
  """

  key: str
  passed: bool | None
  said: str

  def __str__(self):
    mark = {True: 'ok    ', False: 'FAILED', None: '-     '}[self.passed]
    return f'{mark} {self.key}: {self.said}'


def run(
  found: Mapping[str, np.ndarray],
  checks: Mapping[str, Check],
  inputs: frozenset[str],
  scale: float,
) -> list[Line]:
  """Compares every key of a file.

  Args:
    found: the file.
    checks: what can be computed, by key.
    inputs: keys that are only read.
    scale: multiplies every tolerance.

  Returns:
    One line a key, without those of inputs.
  """
  return [
    _line(key, found, checks, scale)
    for key in found
    if key not in inputs or key in checks
  ]


def _line(key, found, checks, scale):
  check = checks.get(key)
  if check is None:
    return Line(key, None, 'unknown key')
  absent = [name for name in check.needs if name not in found]
  if absent and check.also_input:
    return Line(key, None, 'given')
  if absent:
    return Line(key, False, 'cannot be computed without ' + ', '.join(absent))
  try:
    computed = np.asarray(check.compute())
  # An input of a wrong shape or range is the fault of this one key.
  except (ValueError, TypeError, IndexError) as error:
    reason = str(error).strip().split('\n')[0]
    return Line(key, False, f'cannot be computed: {reason}')
  return compare(key, computed, found[key], check.tolerance * scale)


def compare(
  key: str, computed: np.ndarray, wanted: np.ndarray, tolerance: float
) -> Line:
  """Compares one array with the one that is wanted."""
  if computed.shape != wanted.shape:
    return Line(key, False, f'shape {computed.shape}, wanted {wanted.shape}')
  if tolerance == 0:
    wrong = int((computed != wanted).sum())
    return Line(
      key, wrong == 0, f'{wrong} of {wanted.size} differ (must be equal)'
    )
  difference = np.abs(computed.astype(np.float64) - wanted.astype(np.float64))
  largest = float(difference.max(initial=0.0))
  # A comparison with NaN is False, and so fails.
  return Line(
    key,
    largest <= tolerance,
    f'largest error {largest:.2e}, tolerance {tolerance:.0e}',
  )
