"""Baselines of the scores: floors with wrong images, and the judge's ceiling.

An answer can be guessed from its question. So the model and the judge also
answer about another scene's image and about an empty image: floors. The
judge's score on the real images, decoded from their codes, is the most that a
generated image can reach: the ceiling.
"""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.sampling import unified_model


def mismatched_indices(tags: Sequence[str]) -> np.ndarray:
  """Pairs each scene with another scene, with the same tag if possible.

  Args:
    tags: N tags, N >= 2.

  Returns:
    int[N], position of the next scene with the same tag, in a ring; a scene
    that alone has its tag gets the next of all scenes.
  """
  tags = np.asarray(tags)
  other = np.roll(np.arange(len(tags)), -1)
  for tag in set(tags):
    (positions,) = np.nonzero(tags == tag)
    if len(positions) > 1:
      other[positions] = np.roll(positions, -1)
  return other


def measure_baselines(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  judge: gap.Judge,
  blank: np.ndarray,
) -> dict[str, dict[str, float]]:
  """Measures shares of right answers about right and wrong images.

  Args:
    unified: the model.
    inputs: N >= 2 inputs.
    judge: answers about images.
    blank: int[I], codes of an empty image.

  Returns:
    For 'real', 'another' and 'blank' images: means over scenes,
    `understanding` (the model answers) and `judge`, and their standard errors
    `understanding_se` and `judge_se`.
  """
  images = {
    'real': inputs.codes,
    'another': inputs.codes[mismatched_indices(inputs.tags)],
    'blank': np.broadcast_to(blank, inputs.codes.shape),
  }
  scores = {}
  for name, codes in images.items():
    scores[name] = {}
    for who, answer in (('understanding', unified.answer), ('judge', judge)):
      right = np.array(
        [
          np.mean(input_set.correct_answers(answers, questions))
          for answers, questions in zip(
            answer(codes, inputs.questions), inputs.questions
          )
        ]
      )
      scores[name][who] = float(right.mean())
      scores[name][f'{who}_se'] = gap.standard_error(right)
  return scores
