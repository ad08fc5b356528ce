"""Scores of candidate images: by the model's answers, or by a scorer."""

from collections.abc import Callable

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.sampling import unified_model

# Image scorer: (unified model, N inputs, codes int[N, K, I]) -> (scores
# float[N, K], higher is better; N * K lists of the model's own answers). All
# processes call it with the same inputs.
ImageScorer = Callable[
  [unified_model.UnifiedModel, input_set.Inputs, np.ndarray],
  tuple[np.ndarray, list[list[str]]],
]


def answer(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  codes: np.ndarray,
) -> list[list[str]]:
  """Answers the questions of N inputs about their images.

  Args:
    unified: the newest model.
    inputs: N inputs.
    codes: int[N, K, I], image codes.

  Returns:
    N * K lists of answers.
  """
  questions = [q for q in inputs.questions for _ in range(codes.shape[1])]
  return unified.answer(codes.reshape(-1, codes.shape[-1]), questions)


def score_images(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  codes: np.ndarray,
  scorer: ImageScorer | None,
) -> tuple[np.ndarray, list[list[str]]]:
  """Scores images; all processes call it.

  Args:
    unified: the newest model.
    inputs: N inputs.
    codes: int[N, K, I], image codes.
    scorer: image scorer; None: by the share of right answers.

  Returns:
    See `ImageScorer`.
  """
  if scorer is not None:
    return scorer(unified, inputs, codes)
  answers = answer(unified, inputs, codes)
  return by_answers(inputs, answers, codes.shape[1]), answers


def by_answers(
  inputs: input_set.Inputs, answers: list[list[str]], images: int
) -> np.ndarray:
  """Scores images by the share of right answers.

  Args:
    inputs: N inputs.
    answers: N * K lists of answers about the images.
    images: K, images per input.

  Returns:
    float64[N, K] in [0, 1].
  """
  questions = [q for q in inputs.questions for _ in range(images)]
  right = [
    np.mean(input_set.correct_answers(a, q)) for a, q in zip(answers, questions)
  ]
  return np.array(right).reshape(len(inputs), images)
