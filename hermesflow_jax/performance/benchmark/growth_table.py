"""Growth tables: costs per input by phase, with a law for each row."""

from collections.abc import Sequence

# A row breaks its law if its last cost is so many times the line through the
# others and so many times each of them, and at least this share of the largest
# last cost of its table.
_BREAK, _LEAST_SHARE = 1.25, 0.02
# Title, digits and factor of each kind of cost.
_KINDS = {
  'seconds': ('Time of a core, ms an input', 3, 1e3),
  'held': ('Memory that later phases keep, bytes an input', 0, 1.0),
  'peak': ('Most memory within the phase, bytes an input', 0, 1.0),
}


def text(rows: Sequence[dict]) -> str:
  """Returns all tables in Markdown, and the rows that break their law.

  Args:
    rows: from `growth_rows.make`.
  """
  parts = []
  for variable in dict.fromkeys(row['variable'] for row in rows):
    of_variable = [row for row in rows if row['variable'] == variable]
    parts.append(f'## {variable[0].upper()}{variable[1:]}')
    parts += [
      _table(kind, [row for row in of_variable if row['kind'] == kind])
      for kind in _KINDS
      if any(row['kind'] == kind for row in of_variable)
    ]
  return '\n\n'.join([*parts, _breaks(rows)]) + '\n'


def _table(kind, rows) -> str:
  """Returns a table for a cost kind; all rows have the same sizes."""
  title, digits, factor = _KINDS[kind]
  columns = (
    'phase',
    *(f'{size:,}' for size in rows[0]['sizes']),
    'exponent',
    'a + b n',
    'last / line',
  )
  lines = [
    f'{title}:',
    '',
    f'| {" | ".join(columns)} |',
    '|' + '---|' * len(columns),
  ]
  for row in rows:
    law = row['law']
    cells = (
      row['phase'],
      *(f'{factor * cost:,.{digits}f}' for cost in row['costs']),
      _number(law['exponent']),
      _line(factor * law['constant'], factor * law['slope'], row['sizes'][-1]),
      _number(law['last']),
    )
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines)


def _line(constant, slope, size) -> str:
  """Returns a line as text, without a term that is nearly 0 at a size."""
  least = 1e-3 * abs(constant + slope * size)
  sign = '-' if slope < 0 else '+'
  if abs(slope * size) < least:
    return _digits(constant)
  if abs(constant) < least:
    return f'{_digits(slope)} n'
  return f'{_digits(constant)} {sign} {_digits(abs(slope))} n'


def _digits(value) -> str:
  """Returns a number with three digits, or without decimals."""
  return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def _number(value: float | None) -> str:
  return '' if value is None else f'{value:.2f}'


def breaks(rows: Sequence[dict]) -> list[str]:
  """Returns a line for each row whose last cost is far above its line.

  Args:
    rows: from `growth_rows.make`.
  """
  largest = {}
  for row in rows:
    table = row['variable'], row['kind']
    largest[table] = max(largest.get(table, 0), row['costs'][-1])
  return [
    f'{row["variable"]}, {row["phase"]}, {row["kind"]}: at '
    f'{row["sizes"][-1]:,} it is {row["law"]["last"]:.2f} times the line '
    'through the smaller sizes'
    for row in rows
    if (row['law']['last'] or 0) > _BREAK
    and row['costs'][-1] > _BREAK * max(row['costs'][:-1])
    and row['costs'][-1] >= _LEAST_SHARE * largest[row['variable'], row['kind']]
  ]


def _breaks(rows) -> str:
  lines = [f'* {line}' for line in breaks(rows)] or ['Nowhere.']
  return '\n'.join(['## Where the line breaks', '', *lines])
