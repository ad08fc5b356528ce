"""The tables of the GPU benchmark."""

from collections.abc import Mapping
from collections.abc import Sequence

from hermesflow_jax.performance.benchmark import gpu_measurement
from hermesflow_jax.runtime import accelerators


def line(name: str, row: dict) -> str:
  """Returns a measurement as a line.

  Args:
    name: name of the measurement.
    row: its result.
  """
  if 'error' in row:
    return f'{name}: no result ({row["error"]})'
  seconds = row.get('seconds', row.get('naive_seconds'))
  if seconds is None:
    return f'{name}: not in this form'
  return f'{name}: {seconds:.3f} s'


def lowering_line(name: str, row: dict) -> str:
  """Returns a lowered workload as a line.

  Args:
    name: name of the measurement.
    row: see `cuda_lowering.lower`.
  """
  if 'error' in row:
    return f'{name}: not lowered ({row["error"]})'
  text = (
    f'{name}: lowered in {row["lowering_seconds"]:.1f} s, arguments '
    f'{_gib(row["argument_bytes"])} GiB, {row["cudnn_calls"]} calls of cuDNN'
  )
  if 'compiled_bytes' in row:
    text += f'; compiled for this machine {_gib(row["compiled_bytes"])} GiB'
  return text


def tables(
  rows: Mapping[str, dict],
  comparisons: Sequence[gpu_measurement.Comparison],
  differences: Mapping[str, dict[str, float]],
) -> str:
  """Returns all results as Markdown.

  Args:
    rows: result by name of the measurement.
    comparisons: pairs of measurements.
    differences: by comparison, see `workload_values.difference`.
  """
  parts = [
    _machine_text(rows),
    _timing_table(rows),
    _comparison_table(rows, comparisons, differences),
    *map(_kernel_table, rows, rows.values()),
    *map(_round_table, rows, rows.values()),
    _failures(rows),
  ]
  return '\n\n'.join(filter(None, parts))


def _table(columns, cells) -> str:
  lines = [f'| {" | ".join(columns)} |', '|' + '---|' * len(columns)]
  return '\n'.join(lines + ['| ' + ' | '.join(row) + ' |' for row in cells])


def _gib(size) -> str:
  return '' if size is None else f'{size / 2**30:.1f}'


def _machine_text(rows) -> str:
  machines = {
    ', '.join(f'{name} {value}' for name, value in row['machine'].items())
    for row in rows.values()
    if 'machine' in row
  }
  return '\n'.join(sorted(machines))


def _timing_table(rows) -> str:
  cells = []
  for name, row in rows.items():
    if 'useful_flops' in row:
      goal = row.get('settings', {}).get('goal')
      cells.append(
        (
          name,
          f'{row["seconds"]:.3f}',
          f'{goal:g}' if goal else '',
          _utilization(row),
          f'{row["of_ceiling"]:.0%}',
          f'{row["useful_flops"] / 1e9:.0f}',
          f'{row["executed_flops"] / 1e9:.0f}',
          _gib(row['memory_bytes']),
          _gib(row.get('peak_bytes')),
          f'{row["compile_seconds"]:.0f}',
        )
      )
    elif 'naive_seconds' in row or 'seconds' in row:
      seconds = row.get('seconds', row.get('naive_seconds'))
      text = '' if seconds is None else f'{seconds:.3f}'
      cells.append((name, text, *[''] * 8))
  if not cells:
    return ''
  return _table(
    (
      'measurement',
      'seconds',
      'goal',
      'of the peak',
      'of the ceiling',
      'GFLOP useful',
      'executed',
      'program GiB',
      'peak GiB',
      'compiling s',
    ),
    cells,
  )


def _utilization(row) -> str:
  """Returns the useful FLOPs as a share of the maker's bfloat16 rate."""
  peak = accelerators.peak_flops(row.get('machine', {}).get('device', ''))
  if not peak:
    return ''
  return f'{row["useful_flops"] / row["seconds"] / peak:.0%}'


def _comparison_table(rows, comparisons, differences) -> str:
  cells = []
  for comparison in comparisons:
    first, second = (
      rows.get(name, {}).get('seconds')
      for name in (comparison.first, comparison.second)
    )
    if first and second:
      values = differences.get(comparison.name, {})
      cells.append(
        (
          comparison.name,
          comparison.first,
          comparison.second,
          f'{first / second:.2f} x',
          ', '.join(f'{name} {value:.1e}' for name, value in values.items()),
        )
      )
  if not cells:
    return ''
  return _table(
    ('side by side', 'first', 'second', 'second is faster', 'difference'), cells
  )


def _kernel_table(name, row) -> str:
  if not row.get('kernels'):
    return ''
  cells = [
    (
      kernel['kernel'],
      str(kernel['calls']),
      f'{kernel["seconds"] * 1e3:.2f}',
      f'{kernel["share"]:.0%}',
    )
    for kernel in row['kernels']
  ]
  return f'Kernels of "{name}":\n\n' + _table(
    ('kernel', 'calls', 'ms', 'share'), cells
  )


def _round_table(name, row) -> str:
  if not row.get('rounds'):
    return ''
  cells = [
    (
      str(summary['round']),
      *(f'{summary[s]:.3f}' for s in ('understanding', 'generation', 'gap')),
      ', '.join(f'{k} {v:.1f}' for k, v in summary['seconds'].items()),
    )
    for summary in row['rounds']
  ]
  return f'Rounds of "{name}":\n\n' + _table(
    ('round', 'understanding', 'generation', 'gap', 'seconds'), cells
  )


def _failures(rows) -> str:
  failures = [
    f'* {name}: {row["error"]}' for name, row in rows.items() if 'error' in row
  ]
  return '\n'.join(['No result:', '', *failures]) if failures else ''
