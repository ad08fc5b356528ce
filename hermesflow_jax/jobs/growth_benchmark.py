"""Measures how time and memory grow on the host in a self-play round.

Samplers, judge and scorers compute nothing, see `idle_model`. A variable is
varied alone; the others have the values of `base`.
"""

from __future__ import annotations

import dataclasses
import pathlib
import resource
import sys
import tempfile

from hermesflow_jax.performance.benchmark import round_size
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.jobs import benchmark
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import local_processes
  from hermesflow_jax.jobs.setup import workdir_claim
  from hermesflow_jax.performance.benchmark import growth_rows
  from hermesflow_jax.performance.benchmark import growth_table
  from hermesflow_jax.performance.benchmark import phase_meter
  from hermesflow_jax.performance.benchmark import round_phases
  from hermesflow_jax.runtime import sharding

# Inputs of the round before a measurement, which compiles its programs.
_WARM_UP = 500
# A stopped measurement begins anew.
RESUMES = False


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    base: round sizes.
    inputs: input counts, in increasing order; () leaves them out.
    images: images drawn for an input, also in increasing order.
    captions: captions written for an input.
    grids: codes along a side of an image.
    processes: processes on this machine, each with a CPU device.
    most_traced: rounds with more inputs are timed, but their memory is not
      traced, which takes three times as long.
  """

  base: round_size.RoundSize
  inputs: tuple[settings.PositiveInt, ...]
  images: tuple[settings.PositiveInt, ...]
  captions: tuple[settings.PositiveInt, ...]
  grids: tuple[settings.PositiveInt, ...]
  processes: tuple[settings.PositiveInt, ...]
  most_traced: settings.NonNegativeInt

  def __post_init__(self):
    settings.check(self)
    for name in ('inputs', 'images', 'captions', 'grids', 'processes'):
      sizes = getattr(self, name)
      if len(sizes) == 1 or list(sizes) != sorted(set(sizes)):
        raise ValueError(
          f'{name} must be empty, or two or more numbers in increasing order, '
          f'got {sizes}'
        )


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Measures all variables.

  Writes `results.json` and `table.md` after each variable; prints the table.

  Returns:
    Rows from `growth_rows.make`.

  Raises:
    ValueError: the workdir cannot be written, or a process failed.
  """
  workdir_claim.check_no_run(workdir)
  rows, resident = [], {}
  for variable, (field, sizes) in _variables(config).items():
    rounds = [
      dataclasses.replace(config.base, **{field: size}) for size in sizes
    ]
    costs = []
    for size in console.progress(variable)(rounds):
      costs.append(measure(size, config.most_traced))
    resident[variable] = resident_bytes()
    shown = [size**2 for size in sizes] if field == 'grid' else sizes
    counts = [size.inputs for size in rounds]
    rows += growth_rows.make(variable, shown, counts, costs)
    _write(config, workdir, rows, resident)
  rows += _process_rows(config, console)
  path = _write(config, workdir, rows, resident)
  console.say(growth_table.text(rows))
  console.say(f'table: {path}')
  return rows


def _variables(config) -> dict[str, tuple[str, tuple[int, ...]]]:
  """Returns (field of a round's size, its values) by variable."""
  variables = {
    'inputs': ('inputs', config.inputs),
    'images of an input': ('images', config.images),
    'captions of an input': ('captions', config.captions),
    'codes of an image': ('grid', config.grids),
  }
  return {name: part for name, part in variables.items() if part[1]}


def _write(config, workdir, rows, resident) -> pathlib.PurePath:
  """Writes what is measured so far; returns the path of the table."""
  root = storage.path(workdir)
  job_results.write_json(
    root / 'results.json',
    {
      'rows': rows,
      'base': dataclasses.asdict(config.base),
      'resident_bytes': resident,
      'machine': benchmark.describe_machine(),
    },
  )
  output_files.write_atomically(root / 'table.md', growth_table.text(rows))
  return root / 'table.md'


def _process_rows(config, console) -> list[dict]:
  """Returns rows for the first and the last process."""
  counts, by_process = config.processes, {'first': [], 'last': []}
  for count in console.progress('processes')(counts):
    with tempfile.TemporaryDirectory() as folder:
      results = local_processes.run(
        count, measure, config.base, config.most_traced, folder
      )
    by_process['first'].append(results[0])
    by_process['last'].append(results[-1])
  return [
    row
    for place, costs in by_process.items()
    if counts
    for row in growth_rows.make(
      f'processes, costs of the {place} process',
      counts,
      [config.base.inputs] * len(counts),
      costs,
    )
  ]


def measure(
  size: round_size.RoundSize, most_traced: int, folder: str | None = None
) -> dict[str, phase_meter.Cost]:
  """Returns round costs by phase; all processes call it.

  Args:
    size: what the round has.
    most_traced: see `Settings`.
    folder: folder that all processes share; None for a new one.
  """
  # All devices of joined processes; a single device in this process.
  mesh = sharding.make_mesh() if folder else sharding.make_mesh(1, idle=True)
  with tempfile.TemporaryDirectory() as own:
    root = pathlib.Path(folder or own)
    rounds = {
      'warm_up': (False, min(size.inputs, _WARM_UP)),
      'timed': (False, size.inputs),
      'traced': (True, size.inputs),
    }
    if size.inputs > most_traced:
      del rounds['traced']
    meters = {}
    for name, (traced, count) in rounds.items():
      meters[name] = phase_meter.PhaseMeter(traced)
      (root / name).mkdir(exist_ok=True)
      part = dataclasses.replace(size, inputs=count)
      round_phases.play(meters[name], part, mesh, root / name)
  costs = dict(meters['timed'].costs)
  if 'traced' in meters:
    for phase, traced in meters['traced'].costs.items():
      costs[phase] = dataclasses.replace(
        costs[phase], held=traced.held, peak=traced.peak
      )
  costs['all phases'] = phase_meter.Cost(
    sum(cost.seconds for cost in costs.values()),
    sum(cost.wall for cost in costs.values()),
  )
  return costs


def resident_bytes() -> int:
  """Returns the most memory that this process had so far, in bytes."""
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return most if sys.platform == 'darwin' else most * 1024
