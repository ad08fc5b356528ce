"""Reads scores and their changes from rows in `results.json`.

A row is an item in `rounds` in `results.json`; the first is the base model.
"""

from collections.abc import Sequence
import math

from hermesflow_jax.reports import number_text

SCORES = ('understanding', 'generation', 'gap')
# Kinds of captions, in GenEval's order.
TAGS = (
  'single_object',
  'two_object',
  'counting',
  'colors',
  'position',
  'color_attr',
)


def readable_name(name: str) -> str:
  """Returns an identifier as text: 'two_object' becomes 'two object'."""
  return str(name).replace('_', ' ')


def in_tag_order(tags) -> list[str]:
  """Returns tags in GenEval's order, unknown tags behind them."""
  known = [tag for tag in TAGS if tag in tags]
  return known + sorted(set(tags) - set(known))


def last_round(rows: Sequence[dict]) -> str:
  """Names the last round, such as 'round 3'."""
  return f'round {rows[-1].get("round")}'


def judge_caption(rows: Sequence[dict]) -> str:
  """Returns a caption with the judge's name; '' without a name."""
  name = rows[0].get('judge') if rows else None
  return f'Judge of generated images: {name}.' if name else ''


def unseen_rows(rows: Sequence[dict]) -> list[dict]:
  """Returns the rows measured on captions that no input has, or []."""
  return [
    {**row['unseen'], 'round': row.get('round'), 'judge': row.get('judge')}
    for row in rows
    if isinstance(row.get('unseen'), dict)
  ]


def paired_change(base: dict, last: dict, name: str) -> tuple[float, float]:
  """Returns how much a score changed, with the standard error.

  Both come from `last['change']`, which pairs the models scene by scene.
  Without this entry, the errors are combined as if the two evaluations were
  independent.
  """
  paired = last.get('change') or {}
  if name in paired:
    return (
      number_text.to_float(paired[name]),
      number_text.to_float(paired.get(f'{name}_se')),
    )
  value, before = (number_text.to_float(row.get(name)) for row in (last, base))
  errors = (number_text.to_float(row.get(f'{name}_se')) for row in (last, base))
  return value - before, math.hypot(*errors)


def verdict(value: float, error: float) -> str:
  """Returns 'rose', 'fell' or 'same' by two standard errors, or 'unknown'."""
  if not math.isfinite(value) or not math.isfinite(error):
    return 'unknown'
  if abs(value) <= 2 * error:
    return 'same'
  return 'rose' if value > 0 else 'fell'
