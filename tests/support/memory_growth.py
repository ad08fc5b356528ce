"""Bytes of the host that grow with the number of inputs."""

from collections.abc import Callable
import gc
import time
import tracemalloc


def check_below(
  bound: float, run: Callable[[int], object], few: int = 10, many: int = 110
) -> None:
  """Checks that the peak of memory grows by less than a bound with an input.

  Other threads of the process can only add to a peak, such as a buffer of 64
  KiB, and on a busy machine to many peaks one after another. So a growth that
  is too large is measured again for a while.

  Args:
    bound: bytes an input.
    run: computes something for a number of inputs.
    few: number of inputs of the first measured call.
    many: number of inputs of the second.

  Raises:
    AssertionError: all measured growths reach the bound.
  """
  growths = []
  for repetition in range(10):
    time.sleep(0.05 * repetition)
    growths.append(peak_per_input(run, few, many))
    if growths[-1] < bound:
      return
  raise AssertionError(f'an input takes {growths} bytes, expected < {bound}')


def peak_per_input(
  run: Callable[[int], object], few: int = 10, many: int = 110
) -> float:
  """Returns by how much the peak of memory grows with an input, in bytes."""
  run(few)  # What is computed once is not measured.
  least_few = min(_peak(run, few) for _ in range(2))
  return (_peak(run, many) - least_few) / (many - few)


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
