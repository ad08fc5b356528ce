"""Bytes of the host that grow with the number of inputs."""

from collections.abc import Callable
import gc
import tracemalloc


def peak_per_input(
  run: Callable[[int], object], few: int = 10, many: int = 110
) -> float:
  """Returns by how much the peak of memory grows with an input.

  Other threads of the process can only add to a peak, such as a buffer of 64
  KiB, so each peak is the least of several. On a busy machine such a buffer can
  be in all of them, so what a test forbids must take far more than that.

  Args:
    run: computes something for a number of inputs.
    few: number of inputs of the first measured call.
    many: number of inputs of the second.
  """
  run(few)  # What is computed once is not measured.
  pairs = [(_peak(run, few), _peak(run, many)) for _ in range(3)]
  least_few, least_many = map(min, zip(*pairs, strict=True))
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
