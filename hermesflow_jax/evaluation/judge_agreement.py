"""How far the model's own scores of images agree with the judge's.

For people: nothing of this reaches training, where the two disagree self-play
learns from noise. Only an arm of `jobs.ablation` that says so chooses by the
judge's scores, to see what is lost by judging oneself.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import hashlib
import io
import json

import numpy as np

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.runtime import processes

# Questions of one call of the judge, which keeps some 22 KiB of rows a question
# in the host's memory.
_QUESTIONS = 4_096
_ARRAYS = 'npz'


def agreement_scores(
  judge: gap.Judge, codes: np.ndarray, questions: Sequence[Sequence[dict]]
) -> np.ndarray:
  """Returns float[N, K], the judge's shares of right answers about images.

  The judge is called for a bounded number of questions at a time.

  Args:
    judge: of the images.
    codes: int[N, K, I], K images of each of N captions.
    questions: of each caption.
  """
  images = codes.shape[1]
  right = []
  for span in _calls([images * len(records) for records in questions]):
    # The questions of a caption are asked about each of its images.
    rows = [records for records in questions[span] for _ in range(images)]
    answers = judge(codes[span].reshape(len(rows), -1), rows)
    right += [
      np.mean(input_set.correct_answers(a, q)) for a, q in zip(answers, rows)
    ]
  return np.reshape(right, codes.shape[:2])


def _calls(counts: Sequence[int]) -> Iterator[slice]:
  """Yields slices of inputs that have at most _QUESTIONS together, or one."""
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
  pairs: dict[str, tuple[pair_selection.Pair, pair_selection.Pair]],
  store: shards.Shards,
  size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the judge's scores of a round; judges the shards that are missing.

  All processes call it and return the same arrays. A shard that was judged
  from other images or questions is judged again.

  Args:
    judge: of the images.
    inputs: N, of the round.
    codes: int[N, K, I], their candidates.
    pairs: made of these, by id.
    store: ceil(N / size) shards.
    size: inputs a shard.

  Returns:
    float[N, K], of the candidates; float[N, 2], of the winner and the loser of
    each kept image pair, NaN where none is kept.
  """
  parts = [
    _Part(inputs.part(span), codes[span], pairs)
    for span in shards.shard_slices(len(inputs), size)
  ]

  def missing():
    return [
      number
      for number, part in enumerate(parts)
      if (store.facts(number) or {}).get('content') != part.content
    ]

  for number in processes.broadcast_from_first(missing):
    part = parts[number]
    store.write(
      number, {_ARRAYS: part.judged_by(judge)}, {'content': part.content}
    )
  processes.barrier()
  arrays = [
    np.load(io.BytesIO(store.read(number, _ARRAYS)))
    for number in range(store.count)
  ]
  return tuple(
    np.concatenate([part[name] for part in arrays])
    for name in ('candidates', 'sides')
  )


class _Part:
  """The images of a shard: its candidates, and its pairs that are kept."""

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
    """A hash of the images and of what is asked about them."""
    text = json.dumps([self._inputs.ids, self._inputs.questions, self._kept])
    total = hashlib.sha256(text.encode())
    for codes in (self._codes, self._sides):
      total.update(np.ascontiguousarray(codes, np.int32).tobytes())
    return total.hexdigest()

  def judged_by(self, judge: gap.Judge) -> bytes:
    """Returns the judge's scores as the bytes of an npz file."""
    questions = self._inputs.questions
    sides = np.full((len(questions), 2), np.nan)
    if self._kept:
      sides[self._kept] = agreement_scores(
        judge, self._sides, [questions[n] for n in self._kept]
      )
    buffer = io.BytesIO()
    np.savez_compressed(
      buffer,
      candidates=agreement_scores(judge, self._codes, questions),
      sides=sides,
    )
    return buffer.getvalue()


def measure_agreement(
  own: np.ndarray, candidates: np.ndarray, sides: np.ndarray
) -> dict:
  """Compares the model's own scores of images with the judge's.

  Args:
    own: float[N, K], the model's own scores of a round's candidates.
    candidates: float[N, K], the judge's.
    sides: float[N, 2], the judge's of the winner and the loser of each kept
      pair, NaN where none is kept.

  Returns:
    `correlation` of self-score and judge within captions; the judge's mean
    score of winners and losers, and how often he agrees with a pair.
  """
  mine = own - own.mean(1, keepdims=True)
  true = candidates - candidates.mean(1, keepdims=True)
  norm = np.sqrt((mine**2).sum() * (true**2).sum())
  out = {
    'self_score': float(own.mean()),
    'judge_score': float(candidates.mean()),
    'best_by_judge': float(candidates.max(1).mean()),
    'correlation': float((mine * true).sum() / norm) if norm else None,
  }
  kept = ~np.isnan(sides[:, 0])
  if kept.any():
    win, lose = sides[kept].T
    out |= {
      'winners_by_judge': float(win.mean()),
      'losers_by_judge': float(lose.mean()),
      'judge_agrees': float((win > lose).mean()),
      'judge_disagrees': float((win < lose).mean()),
    }
  return out
