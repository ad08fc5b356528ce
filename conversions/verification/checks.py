"""Compares computed arrays with saved activations."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Check:
  """Computes the expected array for a key.

  Attributes:
    needs: activation keys that `compute` reads.
    tolerance: largest absolute difference; 0 requires equality.
    compute: returns the array.
    also_input: whether the key may also serve as a plain input. It is then not
      compared if keys in `needs` are absent.
  """

  needs: tuple[str, ...]
  tolerance: float
  compute: Callable[[], np.ndarray]
  also_input: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
  """The result of comparing an activation.

  Attributes:
    key: activation key.
    passed: whether the arrays agree; None without a comparison.
    detail: the error and the tolerance, or the reason for no comparison.
  """

  key: str
  passed: bool | None
  detail: str

  def __str__(self):
    mark = {True: 'ok    ', False: 'FAILED', None: '-     '}[self.passed]
    return f'{mark} {self.key}: {self.detail}'


def run(
  activations: Mapping[str, np.ndarray],
  checks: Mapping[str, Check],
  inputs: frozenset[str],
  scale: float,
) -> list[Result]:
  """Compares every activation.

  Args:
    activations: arrays by key.
    checks: checks by key.
    inputs: keys that are only read.
    scale: multiplies every tolerance.

  Returns:
    A result for each key that is not in `inputs`.
  """
  return [
    _check_key(key, activations, checks, scale)
    for key in activations
    if key not in inputs or key in checks
  ]


def _check_key(key, activations, checks, scale) -> Result:
  check = checks.get(key)
  if check is None:
    return Result(key, None, 'unknown key')
  absent = [name for name in check.needs if name not in activations]
  if absent and check.also_input:
    return Result(key, None, 'input')
  if absent:
    return Result(key, False, 'cannot be computed without ' + ', '.join(absent))
  try:
    computed = np.asarray(check.compute())
  # A wrong shape or range of an input fails this key only.
  except (ValueError, TypeError, IndexError) as error:
    reason = str(error).strip().split('\n')[0]
    return Result(key, False, f'cannot be computed: {reason}')
  return compare(key, computed, activations[key], check.tolerance * scale)


def compare(
  key: str, computed: np.ndarray, expected: np.ndarray, tolerance: float
) -> Result:
  """Compares a computed array with the expected array.

  Args:
    key: result key.
    computed: any[...], computed by this library.
    expected: any[...], saved from PyTorch.
    tolerance: largest absolute difference; 0 requires equality.
  """
  if computed.shape != expected.shape:
    return Result(
      key, False, f'shape must be {expected.shape}, got {computed.shape}'
    )
  if tolerance == 0:
    wrong = int((computed != expected).sum())
    return Result(
      key, wrong == 0, f'{wrong} of {expected.size} differ (must be equal)'
    )
  difference = np.abs(computed.astype(np.float64) - expected.astype(np.float64))
  largest = float(difference.max(initial=0.0))
  # A comparison with NaN is False, so NaN fails.
  return Result(
    key,
    largest <= tolerance,
    f'largest error {largest:.2e}, tolerance {tolerance:.0e}',
  )
