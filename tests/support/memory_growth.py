"""Bytes of the host that grow with the number of inputs."""

from collections.abc import Callable
import gc
import tracemalloc


def peak_per_input(
  run: Callable[[int], object], few: int = 10, many: int = 30
) -> float:
  """Returns by how much the peak of memory grows with an input.

  Args:
    run: computes something for a number of inputs.
    few: number of inputs of the first measured call.
    many: number of inputs of the second.
  """
  run(few)  # What is computed once is not measured.
  # Other threads of the process can only add to a peak.
  peaks = [min(_peak(run, n) for _ in range(3)) for n in (few, many)]
  return (peaks[1] - peaks[0]) / (many - few)


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
