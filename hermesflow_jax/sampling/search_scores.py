"""Scores that rank the drawings of a prompt by the model that drew them."""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.sampling import likelihoods

# Decimals of scores: rounding of sums, which depends on devices and batches,
# must not order equal drawings.
_DECIMALS = 5


def score(
  unified,
  name: str,
  codes: np.ndarray,
  captions: Sequence[str],
  questions: Sequence[Sequence[dict]] | None = None,
) -> np.ndarray:
  """Scores drawings.

  Args:
    unified: a `unified_model.UnifiedModel`.
    name: a member of `search_settings.SCORES`.
    codes: int[N, I], image codes.
    captions: N texts, a text for each drawing.
    questions: N lists of TIFA records; None only with `likelihood`.

  Returns:
    float64[N], higher is better, rounded.
  """
  if name == 'likelihood':
    scores = likelihoods.caption_logps(unified, codes, captions)
  else:
    by_questions = {'answers': answer_shares, 'soft': right_probabilities}
    scores = by_questions[name](unified, codes, questions)
  return np.round(scores, _DECIMALS)


def answer_shares(unified, codes: np.ndarray, questions) -> np.ndarray:
  """Returns the share of the model's answers that are right.

  Args:
    unified: a `unified_model.UnifiedModel`.
    codes: int[N, I], image codes.
    questions: N lists of TIFA records, none of them empty.

  Returns:
    float64[N] in [0, 1].
  """
  answers = unified.answer(codes, questions)
  return np.array(
    [
      np.mean(input_set.correct_answers(texts, posed))
      for texts, posed in zip(answers, questions, strict=True)
    ]
  )


def right_probabilities(unified, codes: np.ndarray, questions) -> np.ndarray:
  """Returns the mean probability of the right answers, among the choices.

  Args:
    unified: a `unified_model.UnifiedModel`.
    codes: int[N, I], image codes.
    questions: N lists of TIFA records, none of them empty.

  Returns:
    float64[N] in [0, 1].
  """
  by_image = unified.answerer.probabilities(codes, questions)
  return np.array(
    [
      np.mean([p.get(q['answer'], 0.0) for p, q in zip(rows, posed)])
      for rows, posed in zip(by_image, questions, strict=True)
    ]
  )
