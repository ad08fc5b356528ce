"""Times this library's form of a workload in a new process, on the CPU."""

import jax
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import official_calls
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.performance.benchmark import workload_times
from hermesflow_jax.runtime import compilation_cache
from hermesflow_jax.runtime import freed_memory


def measure(
  timed_work: workload.Workload,
  sizes: showo.ShowOConfig,
  repeats: int,
  seed: int,
  name: str,
) -> dict:
  """Times a workload as a command runs it.

  Args:
    timed_work: the workload.
    sizes: transformer sizes.
    repeats: timed calls after a first call; the median is reported.
    seed: random seed for weights and inputs.
    name: unused, see `isolated_runs.run_all`.

  Returns:
    `seconds`, `cpu_seconds`, `flops` and `peak_bytes`.
  """
  del name
  freed_memory.keep()
  jax.config.update('jax_platforms', 'cpu')
  compilation_cache.enable()
  models = workload_times.random_models(sizes, None, seed)
  work = timed_work.ours(models, np.random.default_rng(seed))
  del models
  flops = flop_count.count_flops(
    work.call, *work.arguments, trips=work.trips
  ).flops
  call, arguments, carries = work.call, work.arguments, work.carries
  # Training state is large: memory holds a single copy at a time.
  del work
  took = measurement.measure_times(call, arguments, repeats, carries)
  return {
    'seconds': took.seconds,
    'cpu_seconds': took.cpu,
    'flops': flops,
    'peak_bytes': official_calls.peak_bytes(),
  }
