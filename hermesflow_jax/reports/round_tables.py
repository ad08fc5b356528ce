"""Tables by round: dropped pairs, groups, agreement with the judge, seconds.

`rows` are the `rounds` in `results.json`; the first is the base model.
"""

from collections.abc import Sequence
import dataclasses
import math

from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import number_text
from hermesflow_jax.reports import score_rows


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Agreement between the model's and the judge's image scores.

  Attributes:
    table: a row for each round; empty if no round was measured.
    notes: why rounds were not measured.
  """

  table: html_page.TableContent
  notes: Sequence[str]


def drop_table(rows: Sequence[dict]) -> html_page.TableContent:
  """Returns how many pairs each round kept and dropped, by reason.

  A column has the images that were drawn, where inputs got more or fewer
  (`play.most_images`, `play.first_images`).
  """
  entries, drawn = [], {}
  for row in rows:
    curation = row.get('curation') or {}
    drops = curation.get('drops') or {}
    entries += [(row.get('round'), *item) for item in drops.items()]
    if 'drawn' in curation:
      drawn[row.get('round'), 'image'] = number_text.whole(curation['drawn'])
  reasons = list(
    dict.fromkeys(
      reason for *_, counts in entries for reason in counts if reason != 'kept'
    )
  )
  cells = []
  for number, kind, counts in entries:
    total = sum(counts.values())
    pairs = counts.get('kept', 0)
    cells.append(
      [
        f'round {number}',
        f'{kind}s',
        number_text.whole(total),
        number_text.whole(pairs),
        number_text.percent(pairs / total if total else math.nan),
        *(number_text.whole(counts.get(reason, 0)) for reason in reasons),
        *([drawn.get((number, kind), number_text.NOTHING)] if drawn else []),
      ]
    )
  header = ['Round', 'Pairs of', 'Inputs', 'Kept', 'Share kept']
  header += [reason.capitalize() for reason in reasons]
  header += ['Images drawn'] * bool(drawn)
  return html_page.TableContent(header, cells, text_columns=2)


def group_table(rows: Sequence[dict]) -> html_page.TableContent:
  """Returns the groups and rewards of each round of GRPO; may be empty."""
  cells = []
  for row in rows:
    learned = row.get('learned') or {}
    for kind, counts in (learned.get('groups') or {}).items():
      total, differ = sum(counts.values()), counts.get('kept', 0)
      cells.append(
        [
          f'round {row.get("round")}',
          f'{kind}s',
          number_text.whole(total),
          number_text.whole(differ),
          number_text.percent(differ / total if total else math.nan),
          number_text.decimal((learned.get('rewards') or {}).get(kind)),
        ]
      )
  header = ['Round', 'Groups of', 'Inputs', 'Differ', 'Share', 'Mean reward']
  return html_page.TableContent(header, cells, text_columns=2)


def agreement(rows: Sequence[dict]) -> Agreement:
  """Returns how the model's own image scores agree with the judge's."""
  cells, notes = [], []
  for row in rows:
    curation = row.get('curation') or {}
    if note := curation.get('note'):
      notes.append(f'Round {row.get("round")}: {note}')
    correlation = curation.get('correlation')
    win, lose = (
      curation.get(f'{side}_by_judge') for side in ('winners', 'losers')
    )
    if win is None and lose is None and correlation is None:
      continue
    difference = number_text.to_float(win) - number_text.to_float(lose)
    cells.append(
      [
        f'round {row.get("round")}',
        number_text.decimal(correlation),
        number_text.decimal(win),
        number_text.decimal(lose),
        number_text.decimal(difference, signed=True),
      ]
    )
  header = [
    'Round',
    'Correlation within a caption',
    'Winners by the judge',
    'Losers by the judge',
    'Difference',
  ]
  caption = score_rows.judge_caption(rows)
  return Agreement(
    html_page.TableContent(header, cells, caption=caption), notes
  )


def seconds_table(rows: Sequence[dict]) -> html_page.TableContent:
  """Returns the seconds that each phase took in each round; may be empty."""
  rows = [r for r in rows if isinstance(r.get('seconds'), dict)]
  phases = list(dict.fromkeys(p for r in rows for p in r['seconds']))
  header = ['Seconds']
  header += [score_rows.readable_name(p).capitalize() for p in phases]
  cells = [
    [
      f'round {r.get("round")}',
      *(number_text.decimal(r['seconds'].get(p), 1) for p in phases),
    ]
    for r in rows
  ]
  return html_page.TableContent(header, cells if phases else [])
