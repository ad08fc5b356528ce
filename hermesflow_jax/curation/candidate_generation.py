"""Candidates for an input: captions and images by the model, with scores."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import scored_images
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_similarity


@dataclasses.dataclass(frozen=True)
class Candidates:
  """M captions and K images for each input, for N inputs.

  Attributes:
    captions: N lists of M captions.
    caption_scores: float[N, M] by the caption scorer, above -1.
    codes: int32[N, K, I], image codes.
    image_scores: float[N, K] by the image scorer; by default in [0, 1], the
      fraction of the model's own answers about an image that are right.
    answers: [N][K] lists of these answers, an answer per question; empty lists
      with an image scorer that asks no questions.
  """

  captions: list[list[str]]
  caption_scores: np.ndarray
  codes: np.ndarray
  image_scores: np.ndarray
  answers: list[list[list[str]]]


# Image scorer: (unified model, N inputs, codes int[N, K, I]) -> (scores
# float[N, K], higher is better; N * K lists of the model's own answers). All
# processes call it with the same inputs.
ImageScorer = Callable[
  [unified_model.UnifiedModel, input_set.Inputs, np.ndarray],
  tuple[np.ndarray, list[list[str]]],
]
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
    image_scorer: scores images; None: by the share of right answers.
  """

  sampler: maskgit.MaskGITSampler
  images: int
  caption_samplers: Sequence[batched.Decoding]
  similarity: text_similarity.Scorer
  seed: int
  image_scorer: ImageScorer | None = None


@dataclasses.dataclass(frozen=True)
class DeviceScores:
  """Scores of N inputs that devices computed; None for others.

  Attributes:
    captions: float[N, M] of M captions.
    images: float[N, K] of K images.
  """

  captions: np.ndarray | None = None
  images: np.ndarray | None = None


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
  generated = generate(unified, inputs, config)
  return score(
    inputs, config, *score_on_devices(unified, inputs, config, *generated)
  )


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
    (N lists of M captions, codes int32[N, K, I], N * K lists of answers, which
    are empty with an image scorer).
  """
  captions = unified.describe(
    inputs.ids, inputs.images, config.caption_samplers, config.seed
  )
  codes = unified.draw(
    inputs.ids, inputs.captions, config.images, config.sampler, config.seed
  )
  questions = [q for q in inputs.questions for _ in range(config.images)]
  answers = [[] for _ in questions]
  if config.image_scorer is None:
    answers = unified.answer(codes.reshape(-1, codes.shape[-1]), questions)
  return captions, codes, answers


def score_on_devices(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  config: CandidateConfig,
  captions: list[list[str]],
  codes: np.ndarray,
  answers: list[list[str]],
) -> tuple[list[list[str]], np.ndarray, list[list[str]], DeviceScores]:
  """Computes the scores that need devices; all processes call it.

  Args:
    unified: the newest model.
    inputs: N inputs.
    config: has the scorers.
    captions: N lists of M captions.
    codes: int32[N, K, I], image codes.
    answers: N * K lists of answers about the images.

  Returns:
    (captions, codes, answers, scores), where an image scorer replaces the
    answers.
  """
  caption_scores = image_scores = None
  if text_similarity.uses_devices(config.similarity):
    caption_scores = score_captions(unified, inputs, config, captions)
  if config.image_scorer is not None:
    image_scores, answers = config.image_scorer(unified, inputs, codes)
  return captions, codes, answers, DeviceScores(caption_scores, image_scores)


def score_captions(
  unified: unified_model.UnifiedModel | None,
  inputs: input_set.Inputs,
  config: CandidateConfig,
  captions: list[list[str]],
) -> np.ndarray:
  """Scores captions against the true captions, all in one call.

  Args:
    unified: the newest model; None for a scorer that needs no images.
    inputs: N inputs.
    config: has the caption scorer.
    captions: N lists of M captions.

  Returns:
    float[N, M].
  """
  count = len(config.caption_samplers)
  true_captions = [c for c in inputs.captions for _ in range(count)]
  all_captions = [c for of_input in captions for c in of_input]
  names = [name for name in inputs.ids for _ in range(count)]
  images = scored_images.ScoredImages(
    unified, names, np.repeat(inputs.codes, count, axis=0)
  )
  scores = scored_images.score_captions(
    config.similarity, all_captions, true_captions, images
  )
  return scores.reshape(len(inputs), -1)


def score(
  inputs: input_set.Inputs,
  config: CandidateConfig,
  captions: list[list[str]],
  codes: np.ndarray,
  answers: list[list[str]],
  scores: DeviceScores = DeviceScores(),
) -> Candidates:
  """Scores captions and images: the host's work.

  Args:
    inputs: N inputs.
    config: has the caption scorer.
    captions: N lists of M captions.
    codes: int32[N, K, I], image codes.
    answers: N * K lists of answers about the images.
    scores: those that devices computed; others are computed here.
  """
  images = config.images
  caption_scores, image_scores = scores.captions, scores.images
  if caption_scores is None:
    caption_scores = score_captions(None, inputs, config, captions)
  if image_scores is None:
    image_scores = score_by_answers(inputs, answers, images)
  return Candidates(
    captions=captions,
    caption_scores=caption_scores,
    codes=codes,
    image_scores=image_scores,
    answers=[
      answers[n * images : (n + 1) * images] for n in range(len(inputs))
    ],
  )


def score_by_answers(
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
