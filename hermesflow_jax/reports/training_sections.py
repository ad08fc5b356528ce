"""Sections of the report about the training and its data."""

from collections.abc import Sequence
import math

from hermesflow_jax.reports import charts
from hermesflow_jax.reports import markup
from hermesflow_jax.reports import score_sections

MODALITIES = (('und', 'understanding'), ('gen', 'generation'))


def control_rows(training: Sequence[Sequence[dict]]) -> tuple[list, list]:
  """Returns all rows with steps that go on over rounds, and the borders.

  A round whose steps start again is moved behind the one before it. A row
  with nothing but a step stands between rounds, so that no line joins them.

  Returns:
    (rows with 'step', [(first step, 'round n')]), n counted from 1.
  """
  rows, borders, end = [], [], 0.0
  for n, each in enumerate(training, start=1):
    steps = [markup.number(row.get('step')) for row in each]
    fine = [s for s in steps if math.isfinite(s)]
    if not fine:
      continue
    shift = end if fine[0] <= end and rows else 0.0
    borders.append((end if rows else fine[0], f'round {n}'))
    if rows:
      rows.append({'step': end})
    for row, step in zip(each, steps):
      if math.isfinite(step):
        rows.append({**row, 'step': step + shift})
    end = rows[-1]['step']
  return rows, borders


def training_curves(training: Sequence[Sequence[dict]]) -> markup.Markup:
  """Returns loss, margins, accuracies and log-ratios over steps."""
  rows, borders = control_rows(training)
  if not rows:
    return markup.element('p', 'No training step was logged.', class_='empty')

  def chart(title, wanted, caption, **options):
    series = [
      charts.Series(
        name, [(r['step'], r.get(key), None) for r in rows], style, dashed
      )
      for key, name, style, dashed in wanted
    ]
    drawing = charts.lines(
      series, description=title, x_label='step', borders=borders, **options
    )
    return score_sections.figure(title, drawing, caption)

  def each(metric):
    return [(f'{m}/{metric}', name, m, False) for m, name in MODALITIES]

  def sides(modality):
    return [
      (f'{modality}/win_log_ratio', 'winner', modality, False),
      (f'{modality}/lose_log_ratio', 'loser', 'plain', True),
    ]

  note = (
    'Log-probability under the trained model minus that under the '
    'reference, in nats. Both below zero means that the winner lost '
    'likelihood too.'
  )
  return score_sections.pair(
    chart(
      'Pair-DPO loss',
      [('pairs/loss', 'total', 'plain', False), *each('loss')],
      'Weighted total, and each modality before its weight. '
      'log 2 = 0.693 means that nothing was learned yet.',
    ),
    chart(
      'Reward accuracy',
      each('accuracy'),
      'Share of pairs of the batch whose winner gained more '
      'log-probability than its loser.',
      limits=(0.0, 1.0),
    ),
    chart(
      'Reward margin',
      each('margin'),
      'Log-ratio of the winner minus that of the loser, in nats, not '
      'scaled by beta.',
      zero=True,
    ),
    chart('Log-ratios of captions', sides('und'), note, zero=True),
    chart('Log-ratios of images', sides('gen'), note, zero=True),
  )


def drop_table(rows: Sequence[dict]) -> markup.Markup:
  """Returns how many pairs each round kept, and why others were dropped."""
  counts = []
  for row in rows:
    dropped = (row.get('curation') or {}).get('drops') or {}
    counts += [(row.get('round'), *item) for item in dropped.items()]
  if not counts:
    return markup.element('p', 'No pairs were made.', class_='empty')
  reasons = list(
    dict.fromkeys(
      reason for *_, found in counts for reason in found if reason != 'kept'
    )
  )
  cells = []
  for number, kind, found in counts:
    total = sum(found.values())
    share = found.get('kept', 0) / total if total else math.nan
    cells.append(
      [
        f'round {number}',
        f'{kind}s',
        markup.whole(total),
        markup.whole(found.get('kept', 0)),
        f'{share:.0%}' if total else markup.NOTHING,
      ]
      + [markup.whole(found.get(r, 0)) for r in reasons]
    )
  header = ['Round', 'Pairs of', 'Inputs', 'Kept', 'Share kept']
  return markup.table(header + [r.capitalize() for r in reasons], cells, 2)


def agreement_table(rows: Sequence[dict]) -> markup.Markup:
  """Returns how the model's scores of its images agree with the judge's."""
  cells, notes = [], []
  for row in rows:
    found = row.get('curation') or {}
    if note := found.get('note'):
      notes.append(markup.element('p', f'Round {row.get("round")}: {note}'))
    win, lose = found.get('winners_by_judge'), found.get('losers_by_judge')
    if win is None and lose is None and found.get('correlation') is None:
      continue
    cells.append(
      [
        f'round {row.get("round")}',
        markup.decimal(found.get('correlation')),
        markup.decimal(win),
        markup.decimal(lose),
        markup.decimal(markup.number(win) - markup.number(lose), signed=True),
      ]
    )
  if not cells:
    return (
      markup.join(notes)
      if notes
      else markup.element('p', 'Nothing was measured.', class_='empty')
    )
  header = [
    'Round',
    'Correlation within a caption',
    'Winners by the judge',
    'Losers by the judge',
    'Difference',
  ]
  return markup.join([*notes, markup.table(header, cells)])


def seconds_table(rows: Sequence[dict]) -> markup.Markup:
  """Returns the seconds of each phase of each round; '' without any."""
  rows = [r for r in rows if isinstance(r.get('seconds'), dict)]
  phases = list(dict.fromkeys(p for r in rows for p in r['seconds']))
  if not phases:
    return markup.Markup('')
  cells = [
    [f'round {r.get("round")}']
    + [markup.decimal(r['seconds'].get(p), 1) for p in phases]
    for r in rows
  ]
  return markup.table(
    ['Seconds']
    + [score_sections.readable_name(p).capitalize() for p in phases],
    cells,
  )
