"""Times this library and an official checkout, in turns."""

from __future__ import annotations

import dataclasses
import functools
import time

import jax

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.models import phi_config
from hermesflow_jax.performance.benchmark import named_workload
from hermesflow_jax.performance.benchmark import official_checkout
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processor_cores
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import vocabulary

with lazy_modules.on_first_use():
  from hermesflow_jax.jobs import benchmark
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.performance.benchmark import isolated_runs
  from hermesflow_jax.performance.benchmark import official_table
  from hermesflow_jax.performance.benchmark import own_times
  from hermesflow_jax.performance.benchmark import workload_times

# The command leaves the devices to the processes that this job starts.
USES_DEVICES = False
# A stopped measurement begins anew.
RESUMES = False


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    vocab: token ranges. Both models have random weights.
    decoder: transformer sizes; both sides compute in float32 on the CPU.
    workloads: workloads with images, replies or steps.
    official: folder with a Gen-Verse/HermesFlow checkout.
    official_python: python interpreter that has the checkout's packages.
    turns: how often each side is timed, ours first.
    repeats: timed calls in a turn, after a first call; the median counts.
    limit: most seconds for a turn.
    seed: random seed for weights and inputs.
  """

  vocab: vocabulary.Vocab
  decoder: phi_config.PhiConfig
  workloads: tuple[named_workload.NamedWorkload, ...]
  official: str
  official_python: str
  turns: settings.PositiveInt
  repeats: settings.PositiveInt
  limit: settings.PositiveFloat
  seed: settings.NonNegativeInt

  def __post_init__(self):
    settings.check(self)
    for named in self.workloads:
      if not official_checkout.kind(named):
        raise ValueError(
          'workloads must be of images, replies or steps, got '
          f'{named.name!r}, which the official code has no function for'
        )
      work = named.steps
      if work and work.prompt + work.reply > work.text:
        raise ValueError(
          f'prompt + reply of {named.name} must be at most text={work.text}, '
          f'as official rows have one length, got {work.prompt + work.reply}'
        )


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Times all workloads on both sides, on all cores that this process has.

  Writes `results.json` and `table.md` after each workload, and prints the
  table. Each turn is a new process, so that memory holds a single model.

  Returns:
    A row per workload: median times by side, and all turns.

  Raises:
    ValueError: the checkout or its packages are missing, a side fails, or the
      workdir cannot be written.
  """
  # Before JAX starts a platform in this process.
  jax.config.update('jax_platforms', 'cpu')
  workdir_claim.check_no_run(workdir)
  threads = processor_cores.usable()
  checkout = official_checkout.Checkout(
    config.official, config.official_python, config.limit
  )
  machine = {
    'official': checkout.check(),
    'ours': benchmark.describe_machine(),
    'threads': threads,
  }
  root, rows = storage.path(workdir), []
  sizes = workload_times.transformer_sizes(
    config.vocab, config.decoder, 'float32'
  )
  for named in config.workloads:
    turns = {'ours': [], 'official': []}
    for turn in range(config.turns):
      turns['ours'].append(_time_ours(config, named, sizes))
      turns['official'].append(
        checkout.measure(named, sizes, threads, config.repeats, config.seed)
      )
      for side, measured in turns.items():
        console.say(
          f'{named.name}, turn {turn + 1} of {config.turns}, {side}: '
          f'{official_table.times(measured[-1])}'
        )
    rows.append(
      official_table.row(
        named.name, turns, official_checkout.official_flops(named, sizes)
      )
    )
    job_results.write_json(
      root / 'results.json', {'rows': rows, 'machine': machine}
    )
    output_files.write_atomically(
      root / 'table.md', official_table.table(rows) + '\n'
    )
  console.say(official_table.table(rows))
  console.say(f'table: {root / "table.md"}')
  return rows


def _time_ours(config, named, sizes) -> dict:
  """Times a workload in a new process.

  Raises:
    ValueError: the process fails, or takes longer than the limit.
  """
  rows = []
  isolated_runs.run_all(
    functools.partial(
      own_times.measure, named.workload, sizes, config.repeats, config.seed
    ),
    [[named.name]],
    config.limit,
    time.monotonic() + config.limit,
    lambda name, row: rows.append(row),
  )
  (row,) = rows
  if 'error' in row:
    raise ValueError(f'{named.name} must end with a result, got {row["error"]}')
  return row
