"""Agreement between the model's own scores for images and the judge's scores.

A diagnostic for people: where the two disagree, self-play learns from noise.
The judge's scores do not reach training, except in an arm of
`experiments.ablation` that chooses pairs by the judge to measure what
self-scoring loses.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import io
import json

import numpy as np

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.judging import usage
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes

# Questions in a call of the judge. Rows are padded to the longest of these.
_QUESTIONS = 4_096
_ARRAYS = 'npz'


def agreement_scores(
  judge: gap.Judge, codes: np.ndarray, questions: Sequence[Sequence[dict]]
) -> np.ndarray:
  """Scores images by the judge's right answers.

  Each call has a bounded number of questions.

  Args:
    judge: answers about images.
    codes: int[N, K, I], K images for each of N captions.
    questions: N lists of TIFA records.

  Returns:
    float[N, K] in [0, 1], shares that are right.
  """
  images = codes.shape[1]
  right = []
  for span in _calls([images * len(records) for records in questions]):
    # All images of a caption have the same questions.
    rows = [records for records in questions[span] for _ in range(images)]
    answers = judge(codes[span].reshape(len(rows), -1), rows)
    right += [
      np.mean(input_set.correct_answers(a, q)) for a, q in zip(answers, rows)
    ]
  return np.reshape(right, codes.shape[:2])


def _calls(counts: Sequence[int]) -> Iterator[slice]:
  """Yields slices of inputs that have at most _QUESTIONS questions together.

  An input with more questions gets a slice alone.

  Args:
    counts: number of questions for each input.
  """
  begin, total = 0, 0
  for number, count in enumerate(counts):
    if total + count > _QUESTIONS and number > begin:
      yield slice(begin, number)
      begin, total = number, 0
    total += count
  if counts:
    yield slice(begin, len(counts))


def judge_candidates(
  judge: gap.Judge,
  inputs: input_set.Inputs,
  codes: np.ndarray,
  pairs: Mapping[str, tuple[pair_selection.Pair, pair_selection.Pair]],
  store: shards.Shards,
  size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Scores a round's images by the judge, in shards.

  Existing shards are read. A shard that was scored from other images or
  questions is scored again. All processes call this function and return the
  same arrays.

  Args:
    judge: answers about images.
    inputs: the round's N inputs.
    codes: int[N, K, I], candidates.
    pairs: (caption pair, image pair) by id.
    store: ceil(N / size) shards.
    size: inputs per shard.

  Returns:
    float[N, K], scores for the candidates; float[N, 2], scores for the winner
    and the loser in each image pair, NaN if the pair is dropped.
  """
  spans = list(shards.shard_slices(len(inputs), size))

  def part_of(number):
    return _Part(inputs.part(spans[number]), codes[spans[number]], pairs)

  def missing():
    return [
      number
      for number in range(len(spans))
      if (store.facts(number) or {}).get('content') != part_of(number).content
    ]

  for number in processes.broadcast_from_first(missing):
    part, used = part_of(number), usage.of_judge(judge)
    facts = {_ARRAYS: part.scores(judge)}, {'content': part.content}
    if used:
      facts[1]['usage'] = usage.since(judge, used)
    store.write(number, *facts)
  processes.barrier()
  scores = disk_arrays.join_fields(
    (
      np.load(io.BytesIO(store.read(number, _ARRAYS)))
      for number in range(store.count)
    ),
    len(inputs),
    ('candidates', 'sides'),
  )
  return scores['candidates'], scores['sides']


def total_usage(store: shards.Shards) -> dict | None:
  """Returns what the answers in all shards have cost; all processes call it.

  Args:
    store: from `judge_candidates`, with all shards.

  Returns:
    Sum of `usage.Usage`, as JSON types; None for a judge without costs.
  """
  return processes.broadcast_from_first(
    lambda: usage.total(
      [(store.facts(n) or {}).get('usage') for n in range(store.count)]
    )
  )


class _Part:
  """A shard's images: candidates, and both sides from kept pairs."""

  def __init__(self, inputs, codes, pairs):
    self._inputs, self._codes = inputs, codes
    images = [pairs[name][1] for name in inputs.ids]
    self._kept = [n for n, pair in enumerate(images) if not pair.dropped]
    self._sides = np.array(
      [[images[n].win.value, images[n].lose.value] for n in self._kept],
      np.int32,
    ).reshape(len(self._kept), 2, codes.shape[-1])

  @property
  def content(self) -> str:
    """SHA-256 over the images and their questions, in hex."""
    text = json.dumps([self._inputs.ids, self._inputs.questions, self._kept])
    sha256 = hashlib.sha256(text.encode())
    for codes in (self._codes, self._sides):
      sha256.update(np.ascontiguousarray(codes, np.int32).tobytes())
    return sha256.hexdigest()

  def scores(self, judge: gap.Judge) -> bytes:
    """Returns the judge's scores as an npz file's bytes."""
    questions = self._inputs.questions
    sides = np.full((len(questions), 2), np.nan)
    if self._kept:
      sides[self._kept] = agreement_scores(
        judge, self._sides, [questions[n] for n in self._kept]
      )
    return output_files.npz_bytes(
      candidates=agreement_scores(judge, self._codes, questions), sides=sides
    )


def measure_agreement(
  own: np.ndarray, candidates: np.ndarray, sides: np.ndarray
) -> dict:
  """Compares the model's own scores for images with the judge's.

  Args:
    own: float[N, K], the model's own scores for a round's candidates.
    candidates: float[N, K], the judge's scores for the candidates.
    sides: float[N, 2], the judge's scores for the winner and the loser in each
      pair, NaN if the pair is dropped.

  Returns:
    `self_score`, `judge_score`: means over candidates; `best_by_judge`: mean
    over captions, for the best candidate; `correlation` of both scores within
    captions, None if undefined; `concordance`, see `concordance`; and if pairs
    are kept, means over them: `winners_by_judge`, `losers_by_judge`,
    `judge_agrees`, `judge_disagrees`.
  """
  own_moved = own - own.mean(1, keepdims=True)
  judge_moved = candidates - candidates.mean(1, keepdims=True)
  norm = np.sqrt((own_moved**2).sum() * (judge_moved**2).sum())
  agreement = {
    'self_score': float(own.mean()),
    'judge_score': float(candidates.mean()),
    'best_by_judge': float(candidates.max(1).mean()),
    'correlation': (
      float((own_moved * judge_moved).sum() / norm) if norm else None
    ),
    'concordance': concordance(own, candidates),
  }
  compared = ~np.isnan(sides[:, 0])
  if compared.any():
    win, lose = sides[compared].T
    agreement |= {
      'winners_by_judge': float(win.mean()),
      'losers_by_judge': float(lose.mean()),
      'judge_agrees': float((win > lose).mean()),
      'judge_disagrees': float((win < lose).mean()),
    }
  return agreement


def concordance(own: np.ndarray, judged: np.ndarray) -> float | None:
  """Returns the share of image pairs that both scores order alike.

  Pairs are two images of a caption that the judge scores differently. A tie of
  the own scores counts half, so that chance is 0.5.

  Args:
    own: float[N, K], the model's own scores.
    judged: float[N, K], the judge's scores.

  >>> concordance(np.array([[3, 2, 2, 1]]), np.array([[1, 1, 0, 0]]))
  0.875
  """
  own_order, judge_order = (
    np.sign(scores[:, :, None] - scores[:, None, :]) for scores in (own, judged)
  )
  differ = judge_order > 0
  if not differ.any():
    return None
  return float((own_order[differ] + 1).mean() / 2)
