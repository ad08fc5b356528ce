"""How far the model's own scores of images agree with the judge's.

For people only. Nothing of this may reach training: where the two disagree,
self-play learns from noise.
"""

import numpy as np

from hermesflow_jax import curation
from hermesflow_jax.evaluation import gap


def measure(
    judge: gap.Judge,
    inputs: gap.Inputs,
    found: curation.Candidates,
    pairs: dict[str, tuple[curation.Pair, curation.Pair]],
) -> dict:
  """Compares the scores of a round's candidates and pairs.

  Args:
    judge: of the images.
    inputs: of the round.
    found: their candidates.
    pairs: made of these, by id.

  Returns:
    `correlation` of self-score and judge within captions; the judge's mean
    score of winners and losers, and how often he agrees with a pair.
  """
  many = found.codes.shape[1]

  def judged(codes, questions):
    return np.array([
        np.mean(gap.right(answers, q))
        for answers, q in zip(judge(codes, questions), questions)
    ])

  asked = [q for q in inputs.questions for _ in range(many)]
  truth = judged(found.codes.reshape(len(asked), -1), asked)
  truth = truth.reshape(len(inputs), many)
  own = found.image_scores - found.image_scores.mean(1, keepdims=True)
  true = truth - truth.mean(1, keepdims=True)
  norm = np.sqrt((own**2).sum() * (true**2).sum())
  kept = [
      (pairs[name][1], q) for name, q in zip(inputs.ids, inputs.questions)
      if not pairs[name][1].dropped
  ]
  out = {
      'self_score': float(found.image_scores.mean()),
      'judge_score': float(truth.mean()),
      'best_by_judge': float(truth.max(1).mean()),
      'correlation': float((own * true).sum() / norm) if norm else None,
  }
  if kept:
    questions = [q for _, q in kept]
    win = judged(np.stack([g.win.value for g, _ in kept]), questions)
    lose = judged(np.stack([g.lose.value for g, _ in kept]), questions)
    out |= {
        'winners_by_judge': float(win.mean()),
        'losers_by_judge': float(lose.mean()),
        'judge_agrees': float((win > lose).mean()),
        'judge_disagrees': float((win < lose).mean()),
    }
  return out
