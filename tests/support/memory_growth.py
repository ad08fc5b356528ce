"""Bytes of the host that grow with the number of inputs."""

from collections.abc import Callable
import gc
import math
import time
import tracemalloc


def check_below(
  bound: float, run: Callable[[int], object], few: int = 10, many: int = 110
) -> None:
  """Checks that the peak of memory grows by less than a bound with an input.

  Other threads of the process can only add to a peak, so each peak is the least
  of all that were measured, and a growth that is too large is measured again
  for a while. In some whole runs of the tests every peak of many inputs has 64
  KiB more, for a reason that is not known: a bound must allow these.

  Args:
    bound: bytes an input.
    run: computes something for a number of inputs.
    few: number of inputs of the first measured call.
    many: number of inputs of the second.

  Raises:
    AssertionError: the growth reaches the bound.
  """
  least_few = least_many = math.inf
  run(few)  # What is computed once is not measured.
  for repetition in range(10):
    time.sleep(0.05 * repetition)
    least_few = min(least_few, _peak(run, few))
    least_many = min(least_many, _peak(run, many))
    growth = (least_many - least_few) / (many - few)
    # A single peak of few inputs could be too large, and hide a growth.
    if repetition and growth < bound:
      return
  raise AssertionError(f'an input takes {growth} bytes, expected < {bound}')


def peak_per_input(
  run: Callable[[int], object], few: int = 10, many: int = 110
) -> float:
  """Returns by how much the peak of memory grows with an input, in bytes."""
  run(few)  # What is computed once is not measured.
  least_few, least_many = (
    min(_peak(run, count) for _ in range(3)) for count in (few, many)
  )
  return (least_many - least_few) / (many - few)


def _peak(run, count):
  gc.collect()
  # Tests collect garbage once a file, so a peak would hold all of it.
  thresholds = gc.get_threshold()
  gc.set_threshold(700, 10, 10)
  tracemalloc.start()
  try:
    result = run(count)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
    gc.set_threshold(*thresholds)
  del result
  return peak
