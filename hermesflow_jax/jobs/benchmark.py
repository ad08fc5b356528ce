"""Times sampling and training against naive implementations."""

import dataclasses
import platform
import time
import typing

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.models import flop_count
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import choices_workload
from hermesflow_jax.performance.benchmark import images_workload
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import pixels_workload
from hermesflow_jax.performance.benchmark import replies_workload
from hermesflow_jax.performance.benchmark import steps_workload
from hermesflow_jax.performance.benchmark import timing_table
from hermesflow_jax.performance.benchmark import torch_phi
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sequences import vocabulary

PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class NamedWorkload:
  """A named workload, which sets exactly one other field.

  Attributes:
    name: name in the table.
    images: image sampling.
    replies: text sampling.
    choices: answers from given choices.
    steps: training steps.
    pixels: image tokenizer.
  """

  name: str
  images: images_workload.ImagesWorkload | None = None
  replies: replies_workload.RepliesWorkload | None = None
  choices: choices_workload.ChoicesWorkload | None = None
  steps: steps_workload.StepsWorkload | None = None
  pixels: pixels_workload.PixelsWorkload | None = None

  def __post_init__(self):
    if len(self._kinds()) != 1:
      raise ValueError(
        f'{self.name} must have one of images, replies, choices, steps and '
        f'pixels, got {len(self._kinds())}'
      )

  def _kinds(self):
    kinds = (self.images, self.replies, self.choices, self.steps, self.pixels)
    return [kind for kind in kinds if kind]

  @property
  def workload(self) -> workload.Workload:
    """The workload that is set."""
    return self._kinds()[0]


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    vocab: token ranges. The model has random weights.
    decoder: transformer sizes.
    tokenizer: sizes for an image tokenizer with random weights; None if no
      workload needs it.
    precisions: names in PRECISIONS.
    workloads: workloads to time; the tokenizer is timed in float32 only.
    repeats: timed calls after a warm-up call; the median is reported.
    torch: whether to time the naive implementation also in PyTorch, if PyTorch
      is installed.
    seed: random seed for weights and inputs.
  """

  vocab: vocabulary.Vocab
  decoder: phi.PhiConfig
  tokenizer: magvit_config.MagvitConfig | None
  precisions: tuple[typing.Annotated[str, settings.one_of(*PRECISIONS)], ...]
  workloads: tuple[NamedWorkload, ...]
  repeats: settings.PositiveInt
  torch: bool
  seed: settings.NonNegativeInt

  def __post_init__(self):
    settings.check(self)
    if self.tokenizer is None and any(w.pixels for w in self.workloads):
      raise ValueError(
        'tokenizer must have sizes for workloads with pixels, got None'
      )


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Times all workloads.

  Writes `results.json` and `table.md`, and prints both.

  Returns:
    A row per workload and precision: seconds, FLOPs, bytes and memory.

  Raises:
    ValueError: the workdir cannot be written.
  """
  workdir_claim.check_no_run(workdir)
  rows = []
  for precision in config.precisions:
    ceiling = measurement.measured_ceiling(
      PRECISIONS[precision], config.repeats
    )
    console.say(
      f'{precision}: matrix products {ceiling.flops / 1e9:.0f} GFLOP/s, '
      f'copies {ceiling.bytes / 1e9:.1f} GB/s'
    )
    models = random_models(config, PRECISIONS[precision])
    torch_model = None
    if config.torch and torch_phi.is_installed():
      torch_model = torch_phi.make_model(models.showo.config, precision)
    timed = [
      w for w in config.workloads if not w.pixels or precision == 'float32'
    ]
    for named in console.progress(precision)(timed):
      row = {'workload': named.name, 'precision': precision}
      row |= time_workload(models, torch_model, named, ceiling, config)
      rows.append(row)
      console.say(timing_table.timing_line(row))
    del models, torch_model
  machine = {
    'device': jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'processor': platform.machine(),
    'python': platform.python_version(),
    'jax': jax.__version__,
  }
  root = storage.path(workdir)
  job_results.write_json(
    root / 'results.json', {'rows': rows, 'machine': machine}
  )
  output_files.write_atomically(
    root / 'table.md', timing_table.timing_table(rows) + '\n'
  )
  console.say(timing_table.timing_table(rows))
  console.say(f'table: {root / "table.md"}')
  return rows


def random_models(config: Settings, dtype) -> workload.Models:
  """Returns models with random weights.

  Args:
    config: job settings.
    dtype: dtype for Show-o's weights and activations.
  """
  decoder = dataclasses.replace(config.decoder, dtype=dtype)
  sizes = showo.ShowOConfig(config.vocab, decoder)

  @jax.jit
  def make(key):
    model = showo.ShowO(sizes, rngs=nnx.Rngs(key))
    tokenizer = config.tokenizer and magvit.Magvit(
      config.tokenizer, nnx.Rngs(key)
    )
    return model, tokenizer

  model, tokenizer = make(jax.random.key(config.seed))
  # A single device: several devices would each repeat all work.
  mesh = jax.sharding.Mesh(
    np.array(jax.devices()[:1]).reshape(1, 1), ('data', 'model')
  )
  return workload.Models(
    serving_weights.prepare_for_serving(model, mesh), model, tokenizer
  )


def time_workload(
  models: workload.Models,
  torch_model,
  named: NamedWorkload,
  ceiling: measurement.Ceiling,
  config: Settings,
) -> dict:
  """Measures a workload; the row has no name yet.

  Args:
    models: models with random weights.
    torch_model: model from `torch_phi.make_model`; None without PyTorch.
    named: the workload.
    ceiling: FLOP/s and bytes/s that the device reaches.
    config: job settings.
  """
  timed_work = named.workload

  def rng():
    return np.random.default_rng(config.seed)

  def seconds(work):
    return measurement.measure_times(
      work.call, work.arguments, config.repeats, work.carries
    ).seconds

  ours = timed_work.ours(models, rng())
  useful = timed_work.useful(models)
  began = time.perf_counter()
  compiled = ours.call.lower(*ours.arguments).compile()
  row = {'compile_seconds': time.perf_counter() - began}
  executed = flop_count.count_flops(
    ours.call, *ours.arguments, trips=ours.trips
  )
  memory = compiled.memory_analysis()
  # Training calls its jitted step, which costs the host less.
  call = ours.call if ours.carries else compiled
  took = measurement.measure_times(
    call, ours.arguments, config.repeats, ours.carries
  )
  # Training state is large: memory holds a single copy at a time.
  del ours, compiled, call
  naive = timed_work.naive(models, rng())
  row |= {
    'seconds': took.seconds,
    'dispatch_seconds': took.dispatch,
    'host_seconds': took.host,
    'executed_flops': executed.flops,
    'useful_flops': useful.flops,
    'bytes': executed.bytes,
    'useful_bytes': useful.bytes,
    'of_ceiling': ceiling.seconds(useful) / took.seconds,
    'memory_bytes': memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes,
  }
  row['naive_seconds'] = workload.scaled_total(naive, seconds)
  row['naive_part'] = sum(1 / work.scale for work in naive) / len(naive)
  if torch_model is not None and named.steps:
    row['torch_seconds'] = torch_phi.step_seconds(
      torch_model, timed_work.naive_rows(models.showo, rng()), config.repeats
    )
  elif torch_model is not None and (named.replies or named.choices):
    seconds_per_call = torch_phi.forward_seconds(
      torch_model, timed_work.naive_rows(models.showo, rng()), config.repeats
    )
    row['torch_seconds'] = float(np.mean(seconds_per_call) * timed_work.calls())
  return row
