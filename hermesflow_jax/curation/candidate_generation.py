"""Captions and images that the model makes of an input, and their scores."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What the model made of each input.

  Attributes:
    captions: N lists of M texts; caption_scores: float[N, M].
    codes: int32[N, K, I], images; image_scores: float[N, K], the share of
      the model's own answers that are right.
    answers: [N][K] lists of those answers.
  """

  captions: list[list[str]]
  caption_scores: np.ndarray
  codes: np.ndarray
  image_scores: np.ndarray
  answers: list[list[list[str]]]


# Temperature and top-k of the captions, as in the official script.
LADDER = (batched.Decoding(1.0, 1),) + tuple(
  batched.Decoding(temperature, top_k)
  for top_k in (2, 3, 4)
  for temperature in (0.1, 0.7, 2.0)
)


@dataclasses.dataclass(frozen=True)
class CandidateConfig:
  """How candidates are made and scored.

  Attributes:
    sampler: of the images.
    images: K drawn per caption.
    ladder: M caption samplers.
    similarity: scores captions against the true ones.
    seed: of this round.
  """

  sampler: maskgit.MaskGITSampler
  images: int
  ladder: Sequence[batched.Decoding]
  similarity: Callable[[Sequence[str], Sequence[str]], np.ndarray]
  seed: int


def make_candidates(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  recipe: CandidateConfig,
) -> Candidates:
  """Lets the model caption, draw and judge each input.

  Args:
    unified: the newest model.
    inputs: N inputs.
    recipe: how.
  """
  return score(inputs, recipe, *generate(unified, inputs, recipe))


def generate(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  recipe: CandidateConfig,
):
  """Does a model's part of the work.

  Returns:
    (N lists of M captions, codes int32[N, K, I], N * K lists of answers).
  """
  captions = unified.describe(
    inputs.ids, inputs.codes, recipe.ladder, recipe.seed
  )
  codes = unified.draw(
    inputs.ids, inputs.captions, recipe.images, recipe.sampler, recipe.seed
  )
  asked = [q for q in inputs.questions for _ in range(recipe.images)]
  answers = unified.answer(codes.reshape(-1, codes.shape[-1]), asked)
  return captions, codes, answers


def score(
  inputs: input_set.Inputs, recipe: CandidateConfig, captions, codes, answers
) -> Candidates:
  """Does the host's part of the work, with what `generate` returned."""
  many = recipe.images
  truth = [c for c in inputs.captions for _ in recipe.ladder]
  flat = [c for each in captions for c in each]
  asked = [q for q in inputs.questions for _ in range(many)]
  similarity = np.asarray(recipe.similarity(flat, truth))
  right = [
    np.mean(input_set.correct_answers(a, q)) for a, q in zip(answers, asked)
  ]
  return Candidates(
    captions=captions,
    caption_scores=similarity.reshape(len(inputs), -1),
    codes=codes,
    image_scores=np.array(right).reshape(len(inputs), many),
    answers=[answers[i * many : (i + 1) * many] for i in range(len(inputs))],
  )
