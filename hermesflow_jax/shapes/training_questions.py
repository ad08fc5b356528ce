"""Samples true question-answer pairs about a picture for training.

Unlike questions about the caption, these also ask for absent objects and for
object positions.
"""

from collections.abc import Iterable
import itertools

import numpy as np

from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import scene_answers
from hermesflow_jax.shapes import shape_world

# Largest share of pairs with the answer 'none' or 'zero'.
MAX_ABSENT = 0.3
# Share of questions for positions, about pictures with two kinds of shapes.
# With a share of 1 / 17, a small model did not learn to answer them.
SPATIAL = 0.5


def question_answer_pairs(
  scene: shape_world.Scene,
  others: Iterable[shape_world.Scene],
  rng: np.random.Generator,
  count: int,
) -> list[tuple[str, str]]:
  """Returns true (question, answer) pairs about the picture of a scene.

  The questions come from the caption, from captions of other scenes (so that a
  model learns the answers 'none' and 'zero'), and from object positions.
  Questions repeat if too few are different.

  Args:
    scene: scene with a caption.
    others: random scenes with captions, about eight.
    rng: random generator.
    count: number of pairs, > 0.

  Returns:
    `count` pairs. At most the share MAX_ABSENT has the answer 'none' or 'zero'.
    If the scene has positions to ask for, the share SPATIAL asks for positions.
    The other kinds share the remaining pairs equally.
  """
  questions = dict.fromkeys(
    record['question']
    for caption in (scene.caption, *(other.caption for other in others))
    for record in caption_questions.questions_of_caption('', caption)
  )
  for first, second in itertools.permutations(scene.objects, 2):
    if first.shape != second.shape:
      question = f'where is the {first.shape} relative to the {second.shape} ?'
      questions[question] = None
  absent, present = [], {}
  for question in questions:
    right = scene_answers.answer_question(question, scene.objects)
    kind = present.setdefault(_kind(question), [])
    (absent if right in caption_questions.ABSENT else kind).append(
      (question, right)
    )
  rng.shuffle(absent)
  chosen = absent[: int(MAX_ABSENT * count)]
  spatial = present.pop(('where',), [])
  if spatial:
    chosen += _repeated([spatial], int(SPATIAL * count), rng)
  chosen += _repeated(present.values(), count - len(chosen), rng)
  rng.shuffle(chosen)
  return chosen


def _kind(question: str) -> tuple[str, ...]:
  """Returns (form,), or ('the', attribute) if the form is 'the'."""
  form, match = caption_questions.parse_question(question)
  return (form, match[1]) if form == 'the' else (form,)


def _repeated(kinds: Iterable[list], count: int, rng) -> list:
  """Returns `count` members; all occur before any repeats."""
  kinds, chosen = list(kinds), []
  while len(chosen) < count:
    chosen += _in_turns(kinds, rng)
  return chosen[:count]


def _in_turns(kinds: Iterable[list], rng: np.random.Generator) -> list:
  """Returns all members in random order, alternating kinds."""
  rows = [[kind[i] for i in rng.permutation(len(kind))] for kind in kinds]
  rng.shuffle(rows)
  return [
    member
    for members in itertools.zip_longest(*rows)
    for member in members
    if member
  ]
