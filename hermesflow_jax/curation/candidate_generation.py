"""Candidates for an input: captions and images by the model, with scores."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.curation import candidate_scores
from hermesflow_jax.curation import candidate_waves
from hermesflow_jax.curation import shard_codes
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
    captions: N lists of M captions; or `shard_texts.ShardTexts`.
    caption_scores: float[N, M] by the caption scorer, above -1.
    codes: int32[N, K, I], image codes; or `shard_codes.ShardCodes`.
    image_scores: float[N, K] by the image scorer; by default in [0, 1], the
      fraction of the model's own answers about an image that are right.
    answers: [N][K] lists of these answers, an answer per question; empty lists
      with an image scorer that asks no questions; or `ShardTexts`.
    drawn: int[N], images that the K were chosen from, or fewer than K if these
      are repeated; None: all have K.
  """

  captions: Sequence[list[str]]
  caption_scores: np.ndarray
  codes: np.ndarray | shard_codes.ShardCodes
  image_scores: np.ndarray
  answers: Sequence[list[list[str]]]
  drawn: np.ndarray | None = None


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
    most_images: images that are drawn for an input, at most, see
      `candidate_waves`; 0: K for each.
    makes_pair: see `candidate_waves.draw_more`; only with `most_images`.
    easy_score: see `candidate_waves.draw_more` and `draw_rest`.
    first_images: see `candidate_waves.draw_rest`; 0: K.
  """

  sampler: maskgit.MaskGITSampler
  images: int
  caption_samplers: Sequence[batched.Decoding]
  similarity: text_similarity.Scorer
  seed: int
  image_scorer: candidate_scores.ImageScorer | None = None
  most_images: int = 0
  makes_pair: Callable[[np.ndarray], np.ndarray] | None = None
  easy_score: float | None = None
  first_images: int = 0


@dataclasses.dataclass(frozen=True)
class DeviceScores:
  """Scores of N inputs that devices computed; None for others.

  Attributes:
    captions: float[N, M] of M captions.
    images: float[N, K] of K images.
    drawn: int[N], images that these were chosen from.
  """

  captions: np.ndarray | None = None
  images: np.ndarray | None = None
  drawn: np.ndarray | None = None


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
    (N lists of M captions, codes int32[N, k, I], N * k lists of answers, which
    are empty with an image scorer), k = `first_images` or K.
  """
  captions = unified.describe(
    inputs.ids, inputs.images, config.caption_samplers, config.seed
  )
  images = config.first_images or config.images
  codes = unified.draw(
    inputs.ids, inputs.captions, images, config.sampler, config.seed
  )
  answers = [[] for _ in range(len(inputs) * images)]
  if config.image_scorer is None:
    answers = candidate_scores.answer(unified, inputs, codes)
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
    codes: int32[N, k, I], image codes from `generate`.
    answers: N * k lists of answers about the images.

  Returns:
    (captions, codes, answers, scores) with K images. An image scorer replaces
    the answers, and further images may replace some of the codes.
  """
  caption_scores = image_scores = drawn = None
  if text_similarity.uses_devices(config.similarity):
    caption_scores = score_captions(unified, inputs, config, captions)
  if config.image_scorer is not None:
    image_scores, answers = config.image_scorer(unified, inputs, codes)
  if config.first_images or config.most_images > config.images:
    if image_scores is None:
      image_scores = candidate_scores.by_answers(
        inputs, answers, codes.shape[1]
      )
    first = candidate_waves.ScoredImages(codes, image_scores, answers)
    wave, drawn = _draw_further(unified, inputs, config, first)
    codes, image_scores, answers = wave.codes, wave.scores, wave.answers
  scores = DeviceScores(caption_scores, image_scores, drawn)
  return captions, codes, answers, scores


def _draw_further(unified, inputs, config, first):
  """Returns K images of each input, and how many were drawn: int[N]."""

  def score(part, codes):
    return candidate_scores.score_images(
      unified, part, codes, config.image_scorer
    )

  common = dict(
    sampler=config.sampler,
    seed=config.seed,
    easy_score=config.easy_score,
    score=score,
  )
  if config.first_images:
    return candidate_waves.draw_rest(
      unified, inputs, first, images=config.images, **common
    )
  return candidate_waves.draw_more(
    unified,
    inputs,
    first,
    most_images=config.most_images,
    makes_pair=config.makes_pair,
    **common,
  )


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
    image_scores = candidate_scores.by_answers(inputs, answers, images)
  return Candidates(
    captions=captions,
    caption_scores=caption_scores,
    codes=codes,
    image_scores=image_scores,
    answers=[
      answers[n * images : (n + 1) * images] for n in range(len(inputs))
    ],
    drawn=scores.drawn,
  )
