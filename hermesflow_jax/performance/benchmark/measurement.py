"""Times of a workload and of its baseline, and the chip's measured ceiling."""

import dataclasses
import time

import jax
import numpy as np

from hermesflow_jax.models import flop_count

# Side of the matrices that the ceiling is measured with.
SIDE = 4096


@dataclasses.dataclass(frozen=True)
class Ceiling:
  """What this machine reaches at best, measured.

  Attributes:
    flops: of a large matrix product, a second.
    bytes: read and written by a large copy, a second.
  """

  flops: float
  bytes: float

  def seconds(self, work: flop_count.Cost) -> float:
    """Returns the least time that work takes."""
    return max(work.flops / self.flops, work.bytes / self.bytes)


def measured_ceiling(dtype, repeats: int) -> Ceiling:
  """Returns what products of large matrices and copies of them reach."""
  a = jax.random.normal(jax.random.key(0), (SIDE, SIDE), dtype)
  product = jax.jit(lambda a: a @ a)
  flops = 2 * SIDE**3 / measure_times(product, (a,), repeats + 2).seconds
  copy = jax.jit(lambda a: a + 1)
  moved = 2 * a.size * a.dtype.itemsize
  return Ceiling(flops, moved / measure_times(copy, (a,), repeats + 2).seconds)


@dataclasses.dataclass(frozen=True)
class Times:
  """Medians of some calls.

  Attributes:
    seconds: until the results are there.
    dispatch: until the host may go on.
    host: of these, those that the calling thread computed; on a CPU it also
      waits for a core, which the device's threads have.
  """

  seconds: float
  dispatch: float
  host: float


def measure_times(
  call, arguments, repeats: int, carries: bool = False
) -> Times:
  """Returns the medians of `repeats` calls, after one that is not timed.

  Args:
    call: of the arguments.
    arguments: arrays.
    repeats: how many.
    carries: see `workload.Work`.
  """
  whole, returned, own = [], [], []
  for _ in range(repeats + 1):
    began, mine = time.perf_counter(), time.thread_time()
    out = call(*arguments)
    returned.append(time.perf_counter() - began)
    own.append(time.thread_time() - mine)
    jax.block_until_ready(out)
    whole.append(time.perf_counter() - began)
    if carries:
      arguments = (out[0], *arguments[1:])
    del out
  return Times(*(float(np.median(a[1:])) for a in (whole, returned, own)))
