"""Timings of workloads as text."""

from collections.abc import Sequence


def timing_line(row: dict) -> str:
  """Returns a row of timings as a sentence."""
  text = (
    f'{row["workload"]}, {row["precision"]}: {row["seconds"]:.2f} s, '
    f'{row["naive_seconds"] / row["seconds"]:.2f} times as fast as naive'
  )
  if 'torch_seconds' in row:
    text += (
      f', {row["torch_seconds"] / row["seconds"]:.1f} times as fast as '
      'naive in PyTorch'
    )
  return text


def timing_table(rows: Sequence[dict]) -> str:
  """Returns the rows of timings as a Markdown table."""
  columns = (
    'workload',
    'precision',
    'seconds',
    'ms to dispatch (own)',
    'GFLOP useful',
    'executed',
    'GB moved',
    'of the ceiling',
    'memory GiB',
    'naive JAX',
    'naive PyTorch',
  )
  lines = [f'| {" | ".join(columns)} |', '|' + '---|' * len(columns)]
  for row in rows:
    torch = row.get('torch_seconds')
    cells = (
      row['workload'],
      row['precision'],
      f'{row["seconds"]:.2f}',
      f'{row["dispatch_seconds"] * 1e3:.1f} ({row["host_seconds"] * 1e3:.1f})',
      f'{row["useful_flops"] / 1e9:.0f}',
      f'{row["executed_flops"] / 1e9:.0f}',
      f'{row["bytes"] / 1e9:.0f}',
      f'{row["of_ceiling"]:.0%}',
      f'{row["memory_bytes"] / 2**30:.2f}',
      f'{row["naive_seconds"] / row["seconds"]:.2f} x',
      f'{torch / row["seconds"]:.1f} x' if torch else '',
    )
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)
