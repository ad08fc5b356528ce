"""Sentences that state the result.

`rows` are the `rounds` in `results.json`; the first is the base model.
"""

from collections.abc import Sequence
import math

from hermesflow_jax.reports import number_text
from hermesflow_jax.reports import score_rows


def lead_sentence(rows: Sequence[dict]) -> str:
  """Returns a sentence with the main result."""
  if not rows:
    return 'Nothing has been measured yet.'
  before, after = _gaps(rows)
  if len(rows) == 1:
    return (
      f'The base model has a gap of {before} between understanding and '
      'generation; no round of self-play has finished.'
    )
  count = len(rows) - 1
  return (
    f'The gap between understanding and generation {_gap_verb(rows)} from '
    f'{before} to {after} in {count} round{"s" * (count != 1)}.'
  )


def explanation(rows: Sequence[dict]) -> str:
  """Returns how both scores moved the gap; '' without a round."""
  if len(rows) < 2:
    return ''
  base, last = rows[0], rows[-1]
  verdicts = {
    name: score_rows.verdict(*score_rows.paired_change(base, last, name))
    for name in score_rows.SCORES
  }
  sentences = [_score_changes(base, last)]
  before, after = (number_text.to_float(row.get('gap')) for row in (base, last))
  if min(before, after) > 0 and math.isfinite(before + after):
    sentences.append(
      f'The last gap is {after / before:.0%} of the base model’s gap.'
    )
  elif before > 0 and after <= 0:
    sentences.append('Generation now scores no lower than understanding.')
  if verdicts['gap'] == 'fell' and verdicts['generation'] != 'rose':
    sentences.append(
      'The gap is smaller although generation is not measurably better.'
    )
  if verdicts['understanding'] == 'fell':
    sentences.append('Understanding became measurably worse.')
  sentences.append(
    'Errors are standard errors over scenes, '
    + (
      'paired scene by scene.'
      if last.get('change')
      else 'combined as if the two evaluations were independent.'
    )
  )
  return ' '.join(sentences)


def unseen_sentence(rows: Sequence[dict]) -> str:
  """Returns the result on unseen captions; '' without rows.

  Args:
    rows: from `score_rows.unseen_rows`.
  """
  if not rows:
    return ''
  base, last = rows[0], rows[-1]
  before, after = _gaps(rows)
  scenes = number_text.whole(base.get('scenes'))
  start = f'On {scenes} scenes whose captions no input has,'
  if len(rows) == 1:
    return f'{start} the gap is {before}.'
  return (
    f'{start} the gap {_gap_verb(rows)} from {before} to {after}. '
    f'{_score_changes(base, last)}'
  )


def known_captions_sentence(rows: Sequence[dict]) -> str:
  """Returns how many held-out captions are known; '' if not counted."""
  known = rows[0].get('captions_also_of_inputs') if rows else None
  if known is None:
    return ''
  return (
    f'Of the {number_text.whole(rows[0].get("scenes"))} held-out scenes, '
    f'{number_text.whole(known)} have a caption that a training input also '
    'has.'
  )


def search_sentence(rows: Sequence[dict]) -> str:
  """Returns that all models have the same search; '' without search."""
  costs = [row.get('decoder_passes') for row in rows]
  if not costs or None in costs:
    return ''
  names = ['the base model', *(f'round {row["round"]}' for row in rows[1:])]
  texts = [
    f'{number_text.decimal(cost, 1)} by {name}'
    for cost, name in zip(costs, names, strict=True)
  ]
  return (
    'Each generated image is the best of a search (play.search). The base '
    'model searches, too, so that a change is gained beyond the search. '
    f'Decoder passes per image: {", ".join(texts)}.'
  )


def _gaps(rows) -> tuple[str, str]:
  before, after = (number_text.decimal(rows[n].get('gap')) for n in (0, -1))
  return before, after


def _gap_verb(rows) -> str:
  """Returns how the gap moved from the first row to the last."""
  return {
    'fell': 'shrank',
    'rose': 'grew',
    'same': 'did not change beyond two standard errors: it went',
    'unknown': 'went',
  }[score_rows.verdict(*score_rows.paired_change(rows[0], rows[-1], 'gap'))]


def _score_changes(base, last) -> str:
  """Returns a sentence on how generation and understanding changed."""
  clauses = []
  for name in ('generation', 'understanding'):
    value, error = score_rows.paired_change(base, last, name)
    size = f'{number_text.decimal(abs(value))} ± {number_text.decimal(error)}'
    signed = (
      f'{number_text.decimal(value, signed=True)} ± '
      f'{number_text.decimal(error)}'
    )
    clauses.append(
      {
        'rose': f'{name} rose by {size}',
        'fell': f'{name} fell by {size}',
        'same': f'{name} is unchanged within two standard errors ({signed})',
        'unknown': f'the change of {name} is unknown',
      }[score_rows.verdict(value, error)]
    )
  text = f'{clauses[0]}, {clauses[1]}.'
  return text[0].upper() + text[1:]
