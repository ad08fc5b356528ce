"""How far the model's own scores of images agree with the judge's.

For people: nothing of this reaches training, where the two disagree self-play
learns from noise. Only an arm of `jobs.ablation` that says so chooses by the
judge's scores, to see what is lost by judging oneself.
"""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax import curation
from hermesflow_jax.evaluation import gap


def scores(
    judge: gap.Judge, codes: np.ndarray, questions: Sequence[Sequence[dict]]
) -> np.ndarray:
  """Returns float[N, K], the judge's shares of right answers about images.

  Args:
    judge: of the images.
    codes: int[N, K, I], K images of each of N captions.
    questions: of each caption.
  """
  asked = [q for q in questions for _ in range(codes.shape[1])]
  answers = judge(codes.reshape(len(asked), -1), asked)
  right = [np.mean(gap.right(a, q)) for a, q in zip(answers, asked)]
  return np.reshape(right, codes.shape[:2])


def measure(
    judge: gap.Judge,
    inputs: gap.Inputs,
    codes: np.ndarray,
    own_scores: np.ndarray,
    pairs: dict[str, tuple[curation.Pair, curation.Pair]],
) -> dict:
  """Compares the scores of a round's candidates and pairs.

  Args:
    judge: of the images.
    inputs: N, of the round.
    codes: int[N, K, I], their candidates.
    own_scores: float[N, K], the model's own of these.
    pairs: made of these, by id.

  Returns:
    `correlation` of self-score and judge within captions; the judge's mean
    score of winners and losers, and how often he agrees with a pair.
  """
  truth = scores(judge, codes, inputs.questions)
  own = own_scores - own_scores.mean(1, keepdims=True)
  true = truth - truth.mean(1, keepdims=True)
  norm = np.sqrt((own**2).sum() * (true**2).sum())
  kept = [
      (pairs[name][1], q) for name, q in zip(inputs.ids, inputs.questions)
      if not pairs[name][1].dropped
  ]
  out = {
      'self_score': float(own_scores.mean()),
      'judge_score': float(truth.mean()),
      'best_by_judge': float(truth.max(1).mean()),
      'correlation': float((own * true).sum() / norm) if norm else None,
  }
  if kept:
    sides = np.stack([[g.win.value, g.lose.value] for g, _ in kept])
    win, lose = scores(judge, sides, [q for _, q in kept]).T
    out |= {
        'winners_by_judge': float(win.mean()),
        'losers_by_judge': float(lose.mean()),
        'judge_agrees': float((win > lose).mean()),
        'judge_disagrees': float((win < lose).mean()),
    }
  return out
