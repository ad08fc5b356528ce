"""Answers questions about pictures and scores the answers.

The answers follow from the objects that `object_detection` finds in the pixels.
An unsure answer is never right.
"""

from collections.abc import Callable
from collections.abc import Sequence
import re
from typing import Any

import numpy as np

from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import object_detection
from hermesflow_jax.shapes import scene_answers

# The question of benchmarks whether an image shows a prompt.
_SHOWS = re.compile(r'Does this image show "(.+)"\?')


def answer_questions(
  image: np.ndarray, questions: Sequence[dict[str, Any]]
) -> list[str]:
  """Answers questions about a picture.

  Args:
    image: uint8[H, W, 3].
    questions: Q TIFA records, or questions whether the image shows a caption.

  Returns:
    Q answers.
  """
  objects = object_detection.read_image(image)
  return [_answer(q['question'], objects) for q in questions]


def _answer(question, objects) -> str:
  """Returns the answer to a question, also whether a caption is shown."""
  if not (match := _SHOWS.match(question)):
    return scene_answers.answer_question(question, objects)
  parts = caption_questions.questions_of_caption('', match[1])
  right = [_answer(q['question'], objects) == q['answer'] for q in parts]
  return 'yes' if all(right) else 'no'


def judge_of_codes(
  decode: Callable[[np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, Sequence[Sequence[dict]]], list[list[str]]]:
  """Returns a judge for image codes, a `gap.Judge`.

  Args:
    decode: codes int[N, I] -> images uint8[N, H, W, 3].
  """

  def judge(codes, questions):
    return [
      answer_questions(image, image_questions)
      for image, image_questions in zip(decode(codes), questions, strict=True)
    ]

  return judge


def score_image(
  image: np.ndarray, questions: Sequence[dict[str, Any]]
) -> float:
  """Scores a picture by its share of right answers, 0 to 1.

  Args:
    image: uint8[H, W, 3].
    questions: TIFA records for the caption.

  Raises:
    ValueError: `questions` is empty.
  """
  if not questions:
    raise ValueError('questions must not be empty')
  answers = answer_questions(image, questions)
  right = [a == q['answer'] for a, q in zip(answers, questions, strict=True)]
  return sum(right) / len(right)


def is_correct(image: np.ndarray, questions: Sequence[dict[str, Any]]) -> bool:
  """Returns whether a picture answers all questions about its caption.

  Means over the scenes with a tag are scores as in GenEval (arXiv 2310.11513).

  Args:
    image: uint8[H, W, 3].
    questions: TIFA records for the caption.

  Raises:
    ValueError: `questions` is empty.
  """
  return score_image(image, questions) == 1.0
