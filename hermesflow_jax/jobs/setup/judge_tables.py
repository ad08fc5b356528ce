"""Scores of a finished run by another judge, from rows of `judged_images`."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.self_play import score_table
from hermesflow_jax.sequences import text_similarity


def answer_rows(
  rows: Sequence[dict],
  answers: Mapping[str, str],
  matcher: text_similarity.Matcher,
) -> tuple[list[list[str] | None], int]:
  """Returns the judge's answers about each image.

  Args:
    rows: see `judged_images`.
    answers: replies by question id.
    matcher: maps a reply to the nearest choice.

  Returns:
    Answers per row, None for an image with a question without a reply; '' for a
    reply that resembles no choice. And the number of such replies.
  """
  complete = [all(q['id'] in answers for q in row['questions']) for row in rows]
  kept_questions = [
    q for row, c in zip(rows, complete) if c for q in row['questions']
  ]
  numbers = matcher(
    [answers[q['id']] for q in kept_questions],
    [q['choices'] for q in kept_questions],
  )
  texts = iter(
    '' if number is None else q['choices'][number]
    for number, q in zip(numbers, kept_questions, strict=True)
  )
  return [
    [next(texts) for _ in row['questions']] if c else None
    for row, c in zip(rows, complete)
  ], numbers.count(None)


def summaries(
  rows: Sequence[dict], judged: Sequence[list[str] | None], name: str
) -> list[dict]:
  """Returns the scores of each round, in the form of `results.json`.

  Args:
    rows: see `judged_images`.
    judged: from `answer_rows`; images without answers are left out.
    name: name of the judge.

  Returns:
    R + 1 evaluations; [] for a curation. `same_answer` is the share of
    questions that both judges answer alike, `same_verdict` the share that both
    answer rightly or both wrongly.
  """
  parts = _by_part(rows, judged)
  out = []
  for part, scenes in parts.items():
    folder, _, kind = part.partition('/')
    if kind == 'scenes':
      summary = _summary(scenes) | {'judge': name}
      summary['round'] = int(folder.removeprefix('round_'))
      if unseen := parts.get(f'{folder}/scenes_unseen'):
        summary['unseen'] = _summary(unseen)
      out.append(summary)
  return out


def _by_part(rows, judged) -> dict[str, list[tuple[dict, list[str]]]]:
  parts = {}
  for row, answers in zip(rows, judged, strict=True):
    if answers is not None:
      parts.setdefault(row['part'], []).append((row, answers))
  return parts


def _summary(scenes) -> dict:
  rows = [row for row, _ in scenes]
  inputs = input_set.Inputs(
    ids=[row['input'] for row in rows],
    captions=[''] * len(rows),
    tags=[row['tag'] for row in rows],
    questions=[row['questions'] for row in rows],
    codes=np.zeros((len(rows), 0), np.int32),
  )
  has_own = all('own' in row for row in rows)
  result = gap.score_answers(
    inputs,
    np.array([row['similarity'] for row in rows]),
    inputs.codes,
    inputs.captions,
    [row['answers'] for row in rows],
    [answers for _, answers in scenes],
    [row['own'] for row in rows] if has_own else None,
  )
  same, verdicts = [], []
  for row, answers in scenes:
    for question, new, old in zip(row['questions'], answers, row['judged']):
      same.append(new == old)
      right = question['answer']
      verdicts.append((new == right) == (old == right))
  return gap.summarize(result, inputs) | {
    'same_answer': float(np.mean(same)),
    'same_verdict': float(np.mean(verdicts)),
  }


def pair_agreement(
  rows: Sequence[dict], judged: Sequence[list[str] | None]
) -> dict[str, dict]:
  """Returns how the judge sees winners and losers, by round.

  Args:
    rows: see `judged_images`.
    judged: see `summaries`.

  Returns:
    `judge_agreement.measure_agreement` over the pairs, by 'round_<r>/', or ''
    for a curation.
  """
  parts = _by_part(rows, judged)
  out = {}
  for part, winners in parts.items():
    folder = part.removesuffix('win')
    if folder == part:
      continue
    losers = {r['input']: (r, a) for r, a in parts.get(f'{folder}lose', [])}
    both = [
      ((row, answers), losers[row['input']])
      for row, answers in winners
      if row['input'] in losers
    ]
    if both:
      own = np.array([[r['self_score'] for r, _ in pair] for pair in both])
      scores = np.array([[_share(*side) for side in pair] for pair in both])
      out[folder] = judge_agreement.measure_agreement(own, scores, scores)
  return out


def _share(row, answers) -> float:
  return float(np.mean(input_set.correct_answers(answers, row['questions'])))


def text(results: Mapping) -> str:
  """Returns the results as a table of scores and lines of agreement.

  Args:
    results: with `judge`, `rounds` and `pairs`.
  """
  lines = []
  if results['rounds']:
    lines.append(score_table.score_table(results['rounds']))
    lines += [
      f'round {row["round"]}: both judges give the same answer to '
      f'{row["same_answer"]:.1%} of the questions, and the same verdict on '
      f'{row["same_verdict"]:.1%}'
      for row in results['rounds']
    ]
  for folder, pairs in results['pairs'].items():
    place = folder.rstrip('/').replace('_', ' ') or 'pairs'
    lines.append(
      f'{place}: the judge gives winners {pairs["winners_by_judge"]:.3f} and '
      f'losers {pairs["losers_by_judge"]:.3f}; it prefers the winner in '
      f'{pairs["judge_agrees"]:.1%} of the pairs, the loser in '
      f'{pairs["judge_disagrees"]:.1%}'
    )
  return '\n'.join(lines)
