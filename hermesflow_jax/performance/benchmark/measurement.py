"""Times compiled functions and measures the device ceiling."""

import dataclasses
import time

import jax
import numpy as np

from hermesflow_jax.models import flop_count

# Side of the matrices for the measurement of the ceiling.
SIDE = 4096


@dataclasses.dataclass(frozen=True)
class Ceiling:
  """The measured peak rates.

  Attributes:
    flops: FLOPs per second in a large matrix product.
    bytes: bytes per second that a large copy reads and writes.
  """

  flops: float
  bytes: float

  def seconds(self, work: flop_count.Cost) -> float:
    """Returns the least seconds that the work takes."""
    return max(work.flops / self.flops, work.bytes / self.bytes)


def measured_ceiling(dtype, repeats: int) -> Ceiling:
  """Measures a large matrix product and a large copy."""
  a = jax.random.normal(jax.random.key(0), (SIDE, SIDE), dtype)
  product = jax.jit(lambda a: a @ a)
  flops = 2 * SIDE**3 / measure_times(product, (a,), repeats + 2).seconds
  copy = jax.jit(lambda a: a + 1)
  moved = 2 * a.size * a.dtype.itemsize
  return Ceiling(flops, moved / measure_times(copy, (a,), repeats + 2).seconds)


@dataclasses.dataclass(frozen=True)
class Times:
  """Medians over several calls, in seconds.

  Attributes:
    seconds: time until the results are ready.
    dispatch: time until the call returns to the host.
    host: part of `dispatch` that the calling thread computes. The rest is
      waiting, e.g. for a CPU core that device threads occupy.
    cpu: CPU time that all threads take in `seconds`.
  """

  seconds: float
  dispatch: float
  host: float
  cpu: float


def measure_times(
  call, arguments, repeats: int, carries: bool = False
) -> Times:
  """Times a function, after a first call that is not timed.

  Args:
    call: jitted function.
    arguments: arrays.
    repeats: timed calls.
    carries: see `workload.Work`.

  Returns:
    The medians.
  """
  total, dispatch, host, cpu = [], [], [], []
  for _ in range(repeats + 1):
    start, host_start = time.perf_counter(), time.thread_time()
    cpu_start = time.process_time()
    out = call(*arguments)
    dispatch.append(time.perf_counter() - start)
    host.append(time.thread_time() - host_start)
    jax.block_until_ready(out)
    total.append(time.perf_counter() - start)
    cpu.append(time.process_time() - cpu_start)
    if carries:
      arguments = (out[0], *arguments[1:])
    del out
  return Times(*(float(np.median(a[1:])) for a in (total, dispatch, host, cpu)))
