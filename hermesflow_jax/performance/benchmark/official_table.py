"""Times: this library and the official code, side by side."""

from collections.abc import Mapping
from collections.abc import Sequence
import statistics

_SIDES = ('ours', 'official')


def row(
  name: str, turns: Mapping[str, Sequence[dict]], official_flops: float
) -> dict:
  """Returns a workload's row.

  Args:
    name: the workload's name.
    turns: times by side: 'ours' and 'official'.
    official_flops: FLOPs that the official code needs.

  Returns:
    Medians by side, ratios (official over ours), and all turns.
  """
  medians = {
    side: {
      key: statistics.median(times[key] for times in turns[side])
      for key in ('seconds', 'cpu_seconds', 'peak_bytes')
    }
    for side in _SIDES
  }
  medians['ours']['flops'] = turns['ours'][0]['flops']
  medians['official']['flops'] = official_flops
  return {
    'workload': name,
    **medians,
    'ratios': {
      key: medians['official'][key] / medians['ours'][key]
      for key in ('seconds', 'cpu_seconds', 'flops')
    },
    'turns': {side: list(turns[side]) for side in _SIDES},
  }


def times(measured: dict) -> str:
  """Returns a turn's times in words.

  Args:
    measured: `seconds` and `cpu_seconds`.
  """
  return (
    f'{measured["seconds"]:.2f} s, {measured["cpu_seconds"]:.2f} s of the CPU'
  )


def table(rows: Sequence[dict]) -> str:
  """Returns rows as a Markdown table.

  Args:
    rows: from `row`.
  """
  columns = [
    'workload',
    *('seconds, ours', 'official', 'times as fast'),
    *('CPU seconds, ours', 'official', 'times as fast'),
    *('GFLOP, ours', 'official', 'times as few'),
    *('memory GiB, ours', 'official'),
  ]
  lines = [f'| {" | ".join(columns)} |', '|' + '---|' * len(columns)]
  for entry in rows:
    ours, official = (entry[side] for side in _SIDES)
    cells = [entry['workload']]
    for key, digits, unit in (
      ('seconds', 2, 1),
      ('cpu_seconds', 2, 1),
      ('flops', 0, 1e9),
    ):
      cells += [
        f'{ours[key] / unit:.{digits}f}',
        f'{official[key] / unit:.{digits}f}',
        f'{entry["ratios"][key]:.2f} x',
      ]
    cells += [f'{side["peak_bytes"] / 2**30:.1f}' for side in (ours, official)]
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)
