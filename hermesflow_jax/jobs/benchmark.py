"""Times sampling and training against naive implementations."""

from __future__ import annotations

import dataclasses
import platform
import typing

import jax

from hermesflow_jax.performance.benchmark import workload_times
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import workdir_claim
  from hermesflow_jax.models import magvit_config
  from hermesflow_jax.models import phi_config
  from hermesflow_jax.performance.benchmark import measurement
  from hermesflow_jax.performance.benchmark import named_workload
  from hermesflow_jax.performance.benchmark import timing_table
  from hermesflow_jax.performance.benchmark import torch_phi
  from hermesflow_jax.performance.benchmark import workload
  from hermesflow_jax.sequences import vocabulary

PRECISIONS = workload_times.PRECISIONS
# A stopped measurement begins anew.
RESUMES = False


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
  decoder: phi_config.PhiConfig
  tokenizer: magvit_config.MagvitConfig | None
  precisions: tuple[typing.Annotated[str, settings.one_of(*PRECISIONS)], ...]
  workloads: tuple[named_workload.NamedWorkload, ...]
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
  root = storage.path(workdir)
  job_results.write_json(
    root / 'results.json', {'rows': rows, 'machine': describe_machine()}
  )
  output_files.write_atomically(
    root / 'table.md', timing_table.timing_table(rows) + '\n'
  )
  console.say(timing_table.timing_table(rows))
  console.say(f'table: {root / "table.md"}')
  return rows


def describe_machine() -> dict:
  """Returns the device and the versions that a result depends on."""
  return {
    'device': jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'processor': platform.machine(),
    'python': platform.python_version(),
    'jax': jax.__version__,
  }


def random_models(config: Settings, dtype) -> workload.Models:
  """Returns models with random weights.

  Args:
    config: job settings.
    dtype: dtype for Show-o's weights and activations.
  """
  return workload_times.random_models(
    workload_times.transformer_sizes(config.vocab, config.decoder, dtype),
    config.tokenizer,
    config.seed,
  )


def time_workload(
  models: workload.Models,
  torch_model,
  named: named_workload.NamedWorkload,
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
  # Training state is large: memory holds a single copy at a time.
  row, _ = workload_times.time_ours(
    timed_work, models, ceiling, config.repeats, config.seed
  )
  row |= workload_times.time_naive(
    timed_work, models, config.repeats, config.seed
  )
  if torch_model is not None:
    seconds = torch_phi.workload_seconds(
      torch_model, named, models.showo, config.repeats, config.seed
    )
    if seconds is not None:
      row['torch_seconds'] = seconds
  return row
