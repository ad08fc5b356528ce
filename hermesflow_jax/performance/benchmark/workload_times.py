"""Times a workload on models with random weights."""

import dataclasses
import time

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import kernel_profile
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.performance.benchmark import workload_values
from hermesflow_jax.sampling import serving_weights

PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


def single_device_mesh() -> jax.sharding.Mesh:
  """Returns a mesh with a single device: several would each repeat all work."""
  return jax.sharding.Mesh(
    np.array(jax.devices()[:1]).reshape(1, 1), ('data', 'model')
  )


def random_models(
  sizes: showo.ShowOConfig,
  tokenizer: magvit_config.MagvitConfig | None,
  seed: int,
  fused: bool | None = None,
) -> workload.Models:
  """Returns models with random weights.

  Args:
    sizes: transformer sizes, with the dtype of its activations.
    tokenizer: image tokenizer sizes, or None.
    seed: random seed.
    fused: see `serving_weights.prepare_for_serving`.
  """

  @jax.jit
  def make(key):
    model = showo.ShowO(sizes, rngs=nnx.Rngs(key))
    return model, tokenizer and magvit.Magvit(tokenizer, nnx.Rngs(key))

  model, image_tokenizer = make(jax.random.key(seed))
  return workload.Models(
    serving_weights.prepare_for_serving(model, single_device_mesh(), fused),
    model,
    image_tokenizer,
  )


@dataclasses.dataclass(frozen=True)
class Extras:
  """Results beside a workload's row.

  Attributes:
    values: see `workload_values.first_values`.
    kernels: see `kernel_profile.profile_call`; [] without a profile.
  """

  values: dict[str, np.ndarray]
  kernels: list[dict]


def time_ours(
  timed_work: workload.Workload,
  models: workload.Models,
  ceiling: measurement.Ceiling,
  repeats: int,
  seed: int,
  value_steps: int = 0,
  profile: bool = False,
) -> tuple[dict, Extras]:
  """Measures a workload as it is implemented here.

  Args:
    timed_work: the workload.
    models: models with random weights.
    ceiling: FLOP/s and bytes/s that the device reaches.
    repeats: timed calls after a first call.
    seed: random seed of the inputs.
    value_steps: training steps whose metrics are returned, and results of
      other workloads; 0 for none.
    profile: whether a call runs under the profiler.

  Returns:
    A row without a name (seconds, FLOPs, bytes and memory), and the extras.
  """
  ours = timed_work.ours(models, np.random.default_rng(seed))
  useful = timed_work.useful(models)
  began = time.perf_counter()
  compiled = ours.call.lower(*ours.arguments).compile()
  compile_seconds = time.perf_counter() - began
  executed = flop_count.count_flops(
    ours.call, *ours.arguments, trips=ours.trips
  )
  # Training calls its jitted step, which costs the host less.
  call = ours.call if ours.carries else compiled
  arguments, values, kernels = ours.arguments, {}, []
  if value_steps:
    values, arguments = workload_values.first_values(call, ours, value_steps)
  if profile:
    results, kernels = kernel_profile.profile_call(call, arguments)
    if ours.carries:
      arguments = (results[0], *arguments[1:])
    del results
  carries = ours.carries
  # Training state is large: memory holds a single copy at a time.
  del ours
  took = measurement.measure_times(call, arguments, repeats, carries)
  row = {
    'compile_seconds': compile_seconds,
    'seconds': took.seconds,
    'dispatch_seconds': took.dispatch,
    'host_seconds': took.host,
    'executed_flops': executed.flops,
    'useful_flops': useful.flops,
    'bytes': executed.bytes,
    'useful_bytes': useful.bytes,
    'of_ceiling': ceiling.seconds(useful) / took.seconds,
    'memory_bytes': total_bytes(compiled.memory_analysis()),
  }
  return row, Extras(values, kernels)


def total_bytes(memory) -> int:
  """Returns the bytes of a program: arguments, results and temporaries.

  Args:
    memory: `memory_analysis()` of a compiled program.
  """
  return (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
  )


def time_naive(
  timed_work: workload.Workload,
  models: workload.Models,
  repeats: int,
  seed: int,
) -> dict:
  """Measures a workload in its naive form.

  Args:
    timed_work: the workload.
    models: models with random weights.
    repeats: timed calls after a first call.
    seed: random seed of the inputs.

  Returns:
    Seconds of all the work, and the part that was timed.
  """
  naive = timed_work.naive(models, np.random.default_rng(seed))
  return {
    'naive_seconds': workload.scaled_total(
      naive,
      lambda work: (
        measurement.measure_times(
          work.call, work.arguments, repeats, work.carries
        ).seconds
      ),
    ),
    'naive_part': sum(1 / work.scale for work in naive) / len(naive),
  }


def transformer_sizes(vocab, decoder, dtype) -> showo.ShowOConfig:
  """Returns transformer sizes with another dtype.

  Args:
    vocab: token ranges.
    decoder: decoder sizes.
    dtype: dtype of weights in sampling, and of activations.
  """
  return showo.ShowOConfig(vocab, dataclasses.replace(decoder, dtype=dtype))
