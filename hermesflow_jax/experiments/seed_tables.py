"""Tables of self-play with several seeds, beside their controls."""

from collections.abc import Sequence
import math

import numpy as np

from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import paired_changes


def unseen_scores(rows: Sequence[dict]) -> list[dict]:
  """Returns rows with scores on unseen captions, which no input has.

  Args:
    rows: a row per seed, with `rounds` and `control`.

  Returns:
    Rows of the same form; [] if unseen captions were not evaluated.
  """
  if not rows[0]['control'].get('unseen'):
    return []
  return [
    row
    | {
      'rounds': [
        summary['unseen'] | {'round': summary['round']}
        for summary in row['rounds']
      ],
      'control': row['control']['unseen'],
    }
    for row in rows
  ]


def _models(row: dict) -> dict[str, dict]:
  """Returns the scores of a seed by model: 'round <r>' and 'control'."""
  rounds = {f'round {summary["round"]}': summary for summary in row['rounds']}
  return rounds | {'control': row['control']}


def mean_scores(rows: Sequence[dict]) -> dict[str, dict]:
  """Returns mean scores over seeds by model.

  Args:
    rows: a row per seed, with `rounds` and `control`.

  Returns:
    `<score>`: mean over seeds; `<score>_se`: its standard error over seeds,
    None for a single seed.
  """
  means = {}
  for name in _models(rows[0]):
    means[name] = {}
    for score in paired_changes.SCORES:
      values = np.array([_models(row)[name][score] for row in rows])
      means[name][score] = float(values.mean())
      error = gap.standard_error(values)
      means[name][f'{score}_se'] = error if math.isfinite(error) else None
  return means


def seeds_table(results: dict) -> str:
  """Returns scores by seed, means and changes as Markdown tables.

  Held-out scenes come first, then scenes with unseen captions. A star marks
  changes beyond chance (`scene_statistics.Difference`).

  Args:
    results: the JSON object in `results.json`.
  """
  lines = _tables(results['seeds'], results['means'], results['changes'])
  if unseen := results.get('unseen'):
    rows = unseen_scores(results['seeds'])
    lines += [
      '',
      f'On {rows[0]["control"]["scenes"]} scenes whose captions no input has:',
      '',
      *_tables(rows, unseen['means'], unseen['changes']),
    ]
  return '\n'.join(lines)


def _tables(rows, means_of_models, changes_of_models):
  """Returns the lines of three tables: scores, means and changes."""
  lines = [_row('seed', 'model', *paired_changes.SCORES), _row(*['---'] * 5)]
  for row in rows:
    for name, scores in _models(row).items():
      lines.append(_row(row['seed'], name, *_cells(scores)))
  for title, table_rows, sign in (
    ('mean over seeds', means_of_models, ''),
    ('mean change', changes_of_models, '+'),
  ):
    lines += ['', _row(title, *paired_changes.SCORES), _row(*['---'] * 4)]
    for name, scores in table_rows.items():
      lines.append(_row(name, *_cells(scores, sign)))
  return lines


def _row(*cells) -> str:
  return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def _cells(scores: dict, sign: str = '') -> Sequence[str]:
  cells = []
  for name in paired_changes.SCORES:
    error = scores[f'{name}_se']
    cells.append(
      f'{scores[name]:{sign}.3f}'
      + (f' ± {error:.3f}' if error is not None else '')
      + ' *' * scores.get(f'{name}_stands', False)
    )
  return cells
