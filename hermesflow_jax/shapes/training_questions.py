"""True questions and answers about a picture, for a model to train on.

What a caption's own questions (`questions`) leave out is asked here, too: what
is not there, and where things lie.
"""

from collections.abc import Iterable
import itertools

import numpy as np

from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import scene_answers
from hermesflow_jax.shapes import shape_world

# Largest share of answers that say that something is not there.
MAX_ABSENT = 0.3
# Share of questions where things lie, about a picture that has two of them.
# As one question in seventeen, a small model never learned to answer them.
SPATIAL = 0.5


def question_answer_pairs(
  scene: shape_world.Scene,
  others: Iterable[shape_world.Scene],
  rng: np.random.Generator,
  count: int,
) -> list[tuple[str, str]]:
  """Returns true (question, answer) pairs about the picture of a scene.

  The questions come from its own caption, from the captions of other scenes,
  so that a model learns to say 'none' and 'zero', and from where its objects
  lie, which only one caption in six says. Few different questions are repeated
  to fill up.

  Args:
    scene: what the picture shows, with a caption.
    others: scenes with captions, drawn at random; eight give variety.
    rng: chooses, and shuffles the pairs.
    count: number of pairs, > 0.

  Returns:
    `count` pairs, at most MOST_ABSENT of them answered 'none' or 'zero', and
    SPATIAL of them about where things lie, if they can be told. The kinds of
    the others take turns.
  """
  asked = dict.fromkeys(
    record['question']
    for caption in (scene.caption, *(other.caption for other in others))
    for record in caption_questions.questions_of_caption('', caption)
  )
  for one, other in itertools.permutations(scene.objects, 2):
    if one.shape != other.shape:
      asked[f'where is the {one.shape} relative to the {other.shape} ?'] = None
  absent, present = [], {}
  for question in asked:
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
  """Returns the form of a question, with the attribute it asks for."""
  form, match = caption_questions.parse_question(question)
  return (form, match[1]) if form == 'the' else (form,)


def _repeated(kinds: Iterable[list], count: int, rng) -> list:
  """Returns `count` members of the kinds, each once before any twice."""
  kinds, chosen = list(kinds), []
  while len(chosen) < count:
    chosen += _in_turns(kinds, rng)
  return chosen[:count]


def _in_turns(kinds: Iterable[list], rng: np.random.Generator) -> list:
  """Returns the members of all kinds at random: one of each, one of each..."""
  rows = [[kind[i] for i in rng.permutation(len(kind))] for kind in kinds]
  rng.shuffle(rows)
  return [one for turn in itertools.zip_longest(*rows) for one in turn if one]
