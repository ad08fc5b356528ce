"""Times the whole model on a GPU; a failure costs only its measurement.

Each measurement runs in a child process (`isolated_runs`), and its result is
written at once. The same command continues with the measurements that are
missing. This process leaves the GPU to the children.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time

import jax

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.performance.benchmark import gpu_runs
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.performance.benchmark import cuda_lowering
  from hermesflow_jax.performance.benchmark import gpu_measurement
  from hermesflow_jax.performance.benchmark import gpu_report
  from hermesflow_jax.performance.benchmark import isolated_runs
  from hermesflow_jax.performance.benchmark import workload_values

# The command leaves the devices to the processes that this job starts.
USES_DEVICES = False


@dataclasses.dataclass(frozen=True)
class Settings(gpu_runs.Conditions):
  """Job settings.

  Attributes:
    measurements: in the order in which they run.
    comparisons: pairs of measurements that the table shows side by side.
    minutes: no measurement goes on after so many minutes.
    limit: most seconds of a measurement, with the start of its process.
    only_lower: nothing is timed: workloads are lowered for CUDA, on any
      machine.
    only_compile: with `only_lower`, workloads with attention 'xla' are also
      compiled for this machine, to estimate their memory.
  """

  measurements: tuple[gpu_measurement.Measurement, ...]
  comparisons: tuple[gpu_measurement.Comparison, ...]
  minutes: settings.PositiveFloat
  limit: settings.PositiveFloat
  only_lower: bool
  only_compile: bool

  def __post_init__(self):
    settings.check(self)
    names = [entry.name for entry in self.measurements]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
      raise ValueError(
        f'measurements must have unique names, got {", ".join(repeated)} twice'
      )
    for comparison in self.comparisons:
      for name in (comparison.first, comparison.second):
        if name not in names:
          raise ValueError(
            f'comparisons must name measurements, got {name!r} in '
            f'{comparison.name!r}'
          )
    if self.only_compile and not self.only_lower:
      raise ValueError(
        'only_compile must be given with only_lower, got only_lower=False'
      )


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> dict[str, dict]:
  """Runs the measurements that have no result yet.

  Writes `results.json` and `table.md` after each of them, and prints the table.

  Returns:
    A row per measurement, by name.

  Raises:
    ValueError: the workdir cannot be used.
  """
  # Before JAX starts a platform in this process.
  jax.config.update('jax_platforms', 'cpu')
  if config.only_lower:
    return lower_all(config, console)
  workdir_claim.check_no_run(workdir)
  root = storage.path(workdir)
  entries = {entry.name: entry for entry in config.measurements}
  identities = {
    name: settings.to_json_types(entry)
    | {'conditions': settings.to_json_types(conditions(config))}
    for name, entry in entries.items()
  }
  rows = _earlier_rows(root, identities)
  missing = [entry for name, entry in entries.items() if name not in rows]
  groups = [
    [entry.name for entry in group]
    for _, group in itertools.groupby(missing, lambda entry: entry.group)
  ]

  def report(name, row):
    rows[name] = row | {'settings': identities[name]}
    ordered = {n: rows[n] for n in entries if n in rows}
    _write(root, config, ordered)
    console.say(gpu_report.line(name, row))

  isolated_runs.run_all(
    functools.partial(gpu_runs.measure, conditions(config), entries, root),
    groups,
    config.limit,
    time.monotonic() + 60 * config.minutes,
    report,
  )
  rows = {name: rows[name] for name in entries}
  console.say(_write(root, config, rows))
  failed = sum('error' in row for row in rows.values())
  if failed:
    console.say(
      f'{failed} of {len(rows)} measurements have no result; the same command '
      'runs these again'
    )
  console.say(f'table: {root / "table.md"}')
  return rows


def conditions(config: Settings) -> gpu_runs.Conditions:
  """Returns the settings that all measurements share."""
  return gpu_runs.Conditions(
    **{
      field.name: getattr(config, field.name)
      for field in dataclasses.fields(gpu_runs.Conditions)
    }
  )


def _earlier_rows(root, identities) -> dict[str, dict]:
  """Returns the results of an earlier start whose settings are the same."""
  path = root / 'results.json'
  if not path.exists():
    return {}
  rows = output_files.read_json(
    path, lambda results: isinstance(results.get('rows'), dict)
  )['rows']
  return {
    name: row
    for name, row in rows.items()
    if 'error' not in row and row.get('settings') == identities.get(name)
  }


def _write(root, config, rows) -> str:
  """Writes results and table; returns the table."""
  differences = {
    c.name: workload_values.difference(
      gpu_runs.load_values(root, c.first), gpu_runs.load_values(root, c.second)
    )
    for c in config.comparisons
  }
  job_results.write_json(
    root / 'results.json', {'rows': rows, 'differences': differences}
  )
  table = gpu_report.tables(rows, config.comparisons, differences)
  output_files.write_atomically(root / 'table.md', table + '\n')
  return table


def lower_all(config: Settings, console: terminal.Console) -> dict[str, dict]:
  """Lowers the workloads for CUDA; nothing runs.

  Args:
    config: job settings.
    console: prints a line per workload.

  Returns:
    By name, see `cuda_lowering.lower`; `compiled_bytes` with `only_compile`,
    and only `error` for a program with cuDNN where that is not installed.
  """
  rows = {}
  for entry in config.measurements:
    if entry.command or entry.baseline:
      continue
    try:
      rows[entry.name] = _lower(config, entry)
    except RuntimeError as error:
      if 'cuDNN' not in str(error):
        raise
      rows[entry.name] = {'error': str(error)}
    console.say(gpu_report.lowering_line(entry.name, rows[entry.name]))
  return rows


def _lower(config, entry) -> dict:
  work = cuda_lowering.abstract_work(
    entry.workload.workload,
    conditions(config).transformer(entry.form),
    config.tokenizer if entry.workload.pixels else None,
    entry.form.fused,
  )
  row = cuda_lowering.lower(work)
  if config.only_compile and not row['cudnn_calls']:
    row['compiled_bytes'] = cuda_lowering.compiled_bytes(work)
  return row
