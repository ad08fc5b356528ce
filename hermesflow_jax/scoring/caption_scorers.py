"""Caption scorers by name: similarity of captions to true captions.

ngram             n-grams of words, without a model (text_similarity.py)
bert              cosine of the [CLS] states, as in HermesFlow's scripts
sentence          cosine of mean-pooled states, e.g. of all-mpnet-base-v2
clip              cosine of a caption and the image that it describes, by CLIP
likelihood        probability of the image's codes given a caption
http_reward       score of a caption with its image by a service of the user
my_module:scorer  a function of the user
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.judging import reward_service
from hermesflow_jax.models import text_pooling
from hermesflow_jax.runtime import lazy_modules

with lazy_modules.on_first_use():
  from hermesflow_jax.sampling import likelihoods
  from hermesflow_jax.sampling import scored_images
  from hermesflow_jax.scoring import checked_scores
  from hermesflow_jax.scoring import clip_encoder
  from hermesflow_jax.scoring import imported_function
  from hermesflow_jax.scoring import service_scorers
  from hermesflow_jax.scoring import text_encoder
  from hermesflow_jax.sequences import text_similarity

SETTING = 'caption_scorer'


@dataclasses.dataclass(frozen=True)
class EncoderScorer:
  """Cosine of the vectors of two texts; a `text_similarity.Scorer`.

  Attributes:
    encoder: text encoder.
    pool: hidden states -> vector.
    uses_devices: see `text_similarity.Scorer`.
  """

  encoder: text_encoder.TextEncoder
  pool: text_encoder.Pool
  uses_devices: bool = True

  def __call__(
    self, candidates: Sequence[str], references: Sequence[str]
  ) -> np.ndarray:
    """Scores N captions; returns float64[N] above -1."""
    if len(candidates) != len(references):
      raise ValueError(
        f'{len(candidates)} candidates for {len(references)} references'
      )
    if not candidates:
      return np.zeros(0)
    texts = [*candidates, *references]
    vectors = self.encoder.encode(texts, self.pool)
    return text_encoder.cosines(*np.split(vectors, 2))


@dataclasses.dataclass(frozen=True)
class ClipScorer:
  """CLIP's cosine of captions with images; a `text_similarity.Scorer`.

  Attributes:
    encoder: the CLIP.
    needs_images: see `text_similarity.Scorer`.
  """

  encoder: clip_encoder.ClipEncoder
  needs_images: bool = True

  def __call__(
    self,
    candidates: Sequence[str],
    references: Sequence[str],
    images: scored_images.ScoredImages,
  ) -> np.ndarray:
    """Scores N captions; returns float64[N] above -1."""
    del references
    unique, places = np.unique(images.codes, axis=0, return_inverse=True)
    parts = [
      self.encoder.encode_images(
        scored_images.decode(
          images.unified, unique[n : n + scored_images.BLOCK]
        )
      )
      for n in range(0, len(unique), scored_images.BLOCK)
    ]
    vectors = np.concatenate(parts)[places.reshape(-1)]
    return checked_scores.call(
      f'{SETTING} clip',
      (len(candidates),),
      lambda: text_encoder.cosines(
        vectors, self.encoder.encode_texts(candidates)
      ),
    )


class LikelihoodScorer:
  """Probability of images given captions; a `text_similarity.Scorer`.

  The score is the geometric mean of the probabilities of hidden codes, by
  masked prediction: `likelihoods.image_logps` is its logarithm.

  Attributes:
    needs_images: see `text_similarity.Scorer`.
  """

  needs_images = True

  def __call__(
    self,
    candidates: Sequence[str],
    references: Sequence[str],
    images: scored_images.ScoredImages,
  ) -> np.ndarray:
    """Scores N captions; returns float64[N] from 0 to 1."""
    del references
    return checked_scores.call(
      f'{SETTING} likelihood',
      (len(candidates),),
      lambda: np.exp(
        likelihoods.image_logps(
          images.unified, images.names, images.codes, candidates
        )
      ),
    )


@dataclasses.dataclass(frozen=True)
class CheckedScorer:
  """A scorer of the user, whose scores are checked.

  Attributes:
    name: import path, for errors.
    function: the scorer.
  """

  name: str
  function: Callable

  @property
  def uses_devices(self) -> bool:
    """Whether the function computes on devices of JAX."""
    return text_similarity.uses_devices(self.function)

  @property
  def needs_images(self) -> bool:
    """Whether the function reads images, as pixels uint8[N, H, W, 3]."""
    return text_similarity.needs_images(self.function)

  def __call__(
    self, candidates: Sequence[str], references: Sequence[str], *images
  ) -> np.ndarray:
    """Scores N captions; returns float64[N] above -1.

    A function that reads images gets their pixels as its third argument, for
    at most `scored_images.BLOCK` captions at once.

    Raises:
      ValueError: the function fails, or returns another shape, NaN or values
        of -1 or less.
    """
    if not images:
      return self._score(candidates, references)
    scores = np.zeros(len(candidates))
    for captions, pixels in images[0].pixel_blocks():
      scores[captions] = self._score(
        [candidates[n] for n in captions],
        [references[n] for n in captions],
        pixels,
      )
    return scores

  def _score(self, candidates, references, *pixels) -> np.ndarray:
    expected = f'{SETTING} {self.name} must return float[{len(candidates)}]'
    try:
      scores = self.function(candidates, references, *pixels)
      scores = np.asarray(scores, np.float64)
    except Exception as error:
      reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
      raise ValueError(f'{expected}, got {reason}') from error
    if scores.shape != (len(candidates),):
      raise ValueError(f'{expected}, got shape {scores.shape}')
    return checked_scores.above_minus_one(expected, scores, candidates)


# name: (encoder in `encoder_settings.SOURCES`, pool).
ENCODER_SCORERS = {
  'bert': ('bert', text_pooling.first_token),
  'sentence': ('sentence', text_pooling.masked_mean),
}


# Scorers that read the image that a caption describes.
IMAGE_SCORERS = ('clip', 'likelihood', reward_service.NAME)


def check_name(name: str) -> None:
  """Raises ValueError for a name that no scorer has.

  Args:
    name: value of the setting.
  """
  if not (
    name in text_similarity.SCORERS
    or name in ENCODER_SCORERS
    or name in IMAGE_SCORERS
    or imported_function.is_path(name)
  ):
    names = ', '.join(
      [*text_similarity.SCORERS, *ENCODER_SCORERS, *IMAGE_SCORERS]
    )
    raise ValueError(
      f'{SETTING} must be one of {names}, or the import path of a function of '
      f'your own (my_module:my_scorer), got {name!r}'
    )


def encoder_of(name: str) -> str | None:
  """Returns the name of the encoder that a scorer needs, or None.

  Args:
    name: value of the setting.
  """
  if name == 'clip':
    return name
  return ENCODER_SCORERS.get(name, (None,))[0]


def make(
  name: str,
  encoders: text_encoder.TextEncoders,
  service: reward_service.RewardService | None = None,
) -> text_similarity.Scorer:
  """Returns a caption scorer.

  Args:
    name: value of the setting.
    encoders: text encoders of the job.
    service: reward service of the job, with `http_reward`.

  Raises:
    ValueError: no scorer has this name, or it cannot be imported.
  """
  check_name(name)
  # A scorer of the user in SCORERS keeps its name.
  if name in text_similarity.SCORERS:
    return text_similarity.SCORERS[name]
  if name in ENCODER_SCORERS:
    encoder, pool = ENCODER_SCORERS[name]
    return EncoderScorer(encoders.get(encoder), pool)
  if name == 'clip':
    return ClipScorer(encoders.clip())
  if name == 'likelihood':
    return LikelihoodScorer()
  if name == reward_service.NAME:
    return service_scorers.CaptionScorer(service)
  return CheckedScorer(name, imported_function.load(SETTING, name))
