"""Understanding, generation and gap as text."""

from collections.abc import Sequence

from hermesflow_jax.runtime import output_files

SCORES = ('understanding', 'generation', 'gap')


def score_line(number: int, summary: dict) -> str:
  """Returns round scores as a line.

  Args:
    number: r, 0 for the base model.
    summary: evaluation with scores in [0, 1].
  """
  line = f'round {number}: {_named_scores(summary)}'
  if unseen := summary.get('unseen'):
    line += f'; on captions of no input: {_named_scores(unseen)}'
  return line


def has_scores(summary: object) -> bool:
  """Returns whether a JSON value has all scores, with standard errors."""
  return isinstance(summary, dict) and all(
    output_files.is_number(summary.get(name + suffix))
    for name in SCORES
    for suffix in ('', '_se')
  )


def score_table(summaries: Sequence[dict]) -> str:
  """Returns scores and standard errors as a table with a line per round.

  A second block has the scores on unseen captions, if they were evaluated. The
  last lines name the cost of a search, the round with the highest own score if
  it is not the last, and a judge that does not read pixels.

  Args:
    summaries: R + 1 evaluations, the base model's first.
  """
  lines = ['round  understanding   generation      gap', *_lines(summaries)]
  unseen = [
    row['unseen'] | {'round': row['round']}
    for row in summaries
    if row.get('unseen')
  ]
  if unseen:
    lines.append(
      f'on {unseen[0]["scenes"]} scenes whose captions no input has:'
    )
    lines += _lines(unseen)
  costs = [row.get('decoder_passes') for row in summaries]
  if costs and None not in costs:
    passes = ', '.join(f'{cost:.1f}' for cost in costs)
    lines.append(
      'best images of a search, in every round and by the base model; decoder '
      f'passes per image: {passes}'
    )
  if (best := _earlier_round_with_best_own_score(summaries)) is not None:
    last = summaries[-1]
    model = f'checkpoints/{best["round"]}' if best['round'] else 'the start'
    lines.append(
      'own score (share of questions that the model itself answers right about '
      f'its images): highest after round {best["round"]}, '
      f'{best["own_score"]:.3f} ({model}); {last["own_score"]:.3f} after round '
      f'{last["round"]}'
    )
  judge = summaries[0].get('judge') if summaries else None
  if judge not in (None, 'pixels'):
    lines.append(f'judge of generated images: {judge}')
  return '\n'.join(lines)


def _earlier_round_with_best_own_score(summaries):
  """Returns the evaluation of the first round with the highest own score.

  None if the last round has that score, or if a round has none.
  """
  scores = [row.get('own_score') for row in summaries]
  if not scores or not all(map(output_files.is_number, scores)):
    return None
  highest = max(scores)
  return summaries[scores.index(highest)] if scores[-1] < highest else None


def _lines(rows):
  """Returns a line per round."""
  return [
    f'{row["round"]:>5}  ' + '  '.join(_score(row, name) for name in SCORES)
    for row in rows
  ]


def _named_scores(summary):
  return ', '.join(f'{name} {_score(summary, name)}' for name in SCORES)


def _score(row, name):
  return f'{row[name]:.3f} +- {row[name + "_se"]:.3f}'
