"""What scores say without the image: floors, and the ceiling of the judge.

An answer can be guessed from its question. So the same questions are asked
about another scene's image, of the same kind where there is one, and about an
empty one; and the judge answers about the real images, as the tokenizer keeps
them, which is the most that a generated one can score.
"""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.sampling import unified_model


def mismatched_indices(tags: Sequence[str]) -> np.ndarray:
  """Returns int[N], another scene for each: the next of its kind, in a ring.

  Of a kind with one scene it is the next of all.

  Args:
    tags: N kinds, N >= 2.
  """
  tags = np.asarray(tags)
  out = np.roll(np.arange(len(tags)), -1)
  for tag in set(tags):
    (mine,) = np.nonzero(tags == tag)
    if len(mine) > 1:
      out[mine] = np.roll(mine, -1)
  return out


def measure_baselines(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  judge: gap.Judge,
  blank: np.ndarray,
) -> dict[str, dict[str, float]]:
  """Returns mean shares of right answers by the image that is asked about.

  Args:
    unified: the model.
    inputs: N >= 2 inputs.
    judge: of images.
    blank: int[I], codes of an empty image.

  Returns:
    For 'real', 'another' and 'blank' images: `understanding` (the model
    answers) and `judge`, and their standard errors over scenes.
  """
  images = {
    'real': inputs.codes,
    'another': inputs.codes[mismatched_indices(inputs.tags)],
    'blank': np.broadcast_to(blank, inputs.codes.shape),
  }
  out = {}
  for name, codes in images.items():
    out[name] = {}
    for who, answer in (('understanding', unified.answer), ('judge', judge)):
      right = np.array(
        [
          np.mean(input_set.correct_answers(answers, asked))
          for answers, asked in zip(
            answer(codes, inputs.questions), inputs.questions
          )
        ]
      )
      out[name][who] = float(right.mean())
      out[name][f'{who}_se'] = gap.standard_error(right)
  return out
