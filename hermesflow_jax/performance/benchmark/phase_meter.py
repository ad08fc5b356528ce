"""Seconds and bytes that phases take on the host."""

from collections.abc import Callable
import dataclasses
import gc
import time
import tracemalloc


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a phase takes.

  Attributes:
    seconds: CPU seconds in all threads; waiting does not count.
    wall: seconds on the clock.
    held: bytes that later phases keep; None if they were not traced.
    peak: most bytes within the phase; None if they were not traced.
  """

  seconds: float
  wall: float
  held: int | None = None
  peak: int | None = None


class PhaseMeter:
  """Measures phases by name, in their order.

  Attributes:
    costs: `Cost` by phase.

  Args:
    traced: whether Python's allocations are traced, which takes two to four
      times as long. Memory in compiled programs does not count.
  """

  def __init__(self, traced: bool):
    self.costs: dict[str, Cost] = {}
    self._traced = traced

  def measure(self, phase: str, function: Callable, *values):
    """Measures a function, and returns its result.

    Args:
      phase: its name.
      function: called with the values.
      *values: its arguments.
    """
    gc.collect()
    if self._traced:
      tracemalloc.start()
    try:
      seconds, wall = time.process_time(), time.perf_counter()
      result = function(*values)
      seconds, wall = time.process_time() - seconds, time.perf_counter() - wall
      held = peak = None
      if self._traced:
        _, peak = tracemalloc.get_traced_memory()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
      tracemalloc.stop()
    self.costs[phase] = Cost(seconds, wall, held, peak)
    return result
