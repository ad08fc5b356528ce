"""Formats verdicts as lines and tables."""

from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import accelerators

GIB = 2**30


def verdict_line(verdict: verdicts.Verdict, where: accelerators.Slice) -> str:
  """Formats a verdict as a text line."""
  parts = ', '.join(
    f'{name} {size / GIB:.2f}' for name, size in verdict.parts.items()
  )
  if not verdict.fits:
    return f'{verdict.name}: does not fit ({parts} GiB): {verdict.fault}'
  if verdict.network is None:
    sent = 'not readable with this jax'
  else:
    sent = (
      ', '.join(
        f'{kind} {size / GIB:.2f}' for kind, size in verdict.network.items()
      )
      or 'none'
    )
  times = ', '.join(
    f'{kind} {seconds * 1e3:.1f}' for kind, seconds in verdict.seconds.items()
  )
  return (
    f'{verdict.name}: {verdict.peak / GIB:.2f} of '
    f'{where.chip.memory / GIB:.1f} GiB per chip ({parts}, temporaries '
    f'{verdict.temporary / GIB:.2f}); {verdict.flops / 1e12:.2f} TFLOP, '
    f'sent GiB: {sent}; at least ms: {times}; '
    f'{verdict.bound}-bound; compiled in {verdict.compiling:.0f} s'
  )


def verdict_table(records: list[dict]) -> str:
  """Formats the verdicts for several slices as a Markdown table.

  Args:
    records: a record for each slice and mesh, with its verdicts in `programs`;
      `wanted` holds the amount per unit that a run produces.
  """
  lines = [
    (
      '| slice | mesh | program | GiB per chip | of | TFLOP per chip | '
      'GiB sent | least ms: compute | memory | network | bound by | '
      'at most, of the slice | a run, at least |'
    ),
    '|' + '---|' * 13,
  ]
  for record in records:
    memory = accelerators.parse_slice(record['topology']).chip.memory / GIB
    mesh = 'x'.join(str(size) for size in record['mesh'].values())
    for p in record['programs']:
      head = [record['topology'], mesh, p['name']]
      if not p['fits']:
        lines.append(
          '| '
          + ' | '.join(
            [
              *head,
              f'more than {memory:.1f}',
              f'{memory:.1f}',
              *[''] * 5,
              'does not fit',
              '',
              '',
            ]
          )
          + ' |'
        )
        continue
      sent = p['network']
      least = max(p['seconds'].values())
      unit, amount = p['per']
      lines.append(
        '| '
        + ' | '.join(
          [
            *head,
            f'{p["peak"] / GIB:.1f}',
            f'{memory:.1f}',
            f'{p["flops"] / 1e12:.1f}',
            '' if sent is None else f'{sum(sent.values()) / GIB:.2f}',
            *(
              f'{p["seconds"][kind] * 1e3:.1f}' if kind in p['seconds'] else ''
              for kind in ('compute', 'memory', 'network')
            ),
            p['bound'],
            f'{amount / least:.0f} {unit}/s',
            duration_text(record['wanted'][unit] / amount * least),
          ]
        )
        + ' |'
      )
  return '\n'.join(lines)


def duration_text(seconds: float) -> str:
  """Returns a duration as text, e.g. '22 min', '0.3 min', '11.6 h'."""
  minutes = seconds / 60
  if minutes >= 120:
    return f'{minutes / 60:.1f} h'
  return f'{minutes:.1f} min' if minutes < 10 else f'{minutes:.0f} min'
