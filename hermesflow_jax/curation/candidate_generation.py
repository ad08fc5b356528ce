"""Candidates for an input: captions and images by the model, with scores."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_similarity


@dataclasses.dataclass(frozen=True)
class Candidates:
  """M captions and K images for each input, for N inputs.

  Attributes:
    captions: N lists of M captions.
    caption_scores: float[N, M] by the caption scorer, above -1.
    codes: int32[N, K, I], image codes.
    image_scores: float[N, K] in [0, 1], fraction of the model's own answers
      about an image that are right.
    answers: [N][K] lists of these answers, an answer per question.
  """

  captions: list[list[str]]
  caption_scores: np.ndarray
  codes: np.ndarray
  image_scores: np.ndarray
  answers: list[list[list[str]]]


# Caption samplers with the temperatures and top-k of the official script.
CAPTION_SAMPLERS = (batched.Decoding(1.0, 1),) + tuple(
  batched.Decoding(temperature, top_k)
  for top_k in (2, 3, 4)
  for temperature in (0.1, 0.7, 2.0)
)


@dataclasses.dataclass(frozen=True)
class CandidateConfig:
  """Settings for candidates.

  Attributes:
    sampler: image sampler.
    images: K, images per input.
    caption_samplers: M caption samplers, each writes a caption per input.
    similarity: caption scorer, compares captions with the true captions.
    seed: the round's random seed.
  """

  sampler: maskgit.MaskGITSampler
  images: int
  caption_samplers: Sequence[batched.Decoding]
  similarity: text_similarity.Scorer
  seed: int


def make_candidates(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  config: CandidateConfig,
) -> Candidates:
  """Generates and scores candidates for N inputs.

  Args:
    unified: the newest model.
    inputs: N inputs.
    config: samplers, scorer and seed.
  """
  return score(inputs, config, *generate(unified, inputs, config))


def generate(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  config: CandidateConfig,
) -> tuple[list[list[str]], np.ndarray, list[list[str]]]:
  """Generates captions, images and answers: the device's work.

  Args:
    unified: the newest model.
    inputs: N inputs.
    config: samplers and seed.

  Returns:
    (N lists of M captions, codes int32[N, K, I], N * K lists of answers).
  """
  captions = unified.describe(
    inputs.ids, inputs.codes, config.caption_samplers, config.seed
  )
  codes = unified.draw(
    inputs.ids, inputs.captions, config.images, config.sampler, config.seed
  )
  questions = [q for q in inputs.questions for _ in range(config.images)]
  answers = unified.answer(codes.reshape(-1, codes.shape[-1]), questions)
  return captions, codes, answers


def score_captions(
  inputs: input_set.Inputs, config: CandidateConfig, captions: list[list[str]]
) -> np.ndarray:
  """Scores captions against the true captions, all in one call.

  Args:
    inputs: N inputs.
    config: has the caption scorer.
    captions: N lists of M captions.

  Returns:
    float[N, M].
  """
  true_captions = [c for c in inputs.captions for _ in config.caption_samplers]
  all_captions = [c for of_input in captions for c in of_input]
  scores = np.asarray(config.similarity(all_captions, true_captions))
  return scores.reshape(len(inputs), -1)


def score(
  inputs: input_set.Inputs,
  config: CandidateConfig,
  captions: list[list[str]],
  codes: np.ndarray,
  answers: list[list[str]],
  caption_scores: np.ndarray | None = None,
) -> Candidates:
  """Scores captions and images: the host's work.

  Args:
    inputs: N inputs.
    config: has the caption scorer.
    captions: N lists of M captions.
    codes: int32[N, K, I], image codes.
    answers: N * K lists of answers about the images.
    caption_scores: float[N, M] from `score_captions`, where devices computed
      them; None: they are computed here.
  """
  images = config.images
  if caption_scores is None:
    caption_scores = score_captions(inputs, config, captions)
  questions = [q for q in inputs.questions for _ in range(images)]
  right = [
    np.mean(input_set.correct_answers(a, q)) for a, q in zip(answers, questions)
  ]
  return Candidates(
    captions=captions,
    caption_scores=caption_scores,
    codes=codes,
    image_scores=np.array(right).reshape(len(inputs), images),
    answers=[
      answers[n * images : (n + 1) * images] for n in range(len(inputs))
    ],
  )
