"""Image scorers by name: which drawn images of a caption are better.

answers             share of questions that the model answers right about an
                    image, as in the paper
soft                mean probability that the model gives right answers
caption_likelihood  mean log-probability of the true caption given an image
image_likelihood    mean log-probability of an image given the true caption
clip                CLIP's cosine between image and true caption
http_reward         score for image and true caption by the user's service
my_module:scorer    the user's function

A scorer is a `candidate_scores.ImageScorer`. All processes call it, between
two uses of the devices, and the scores of an image depend on the image and its
input alone.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math

import numpy as np

from hermesflow_jax.judging import reward_service
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.scoring import user_scorers

with lazy_modules.on_first_use():
  from hermesflow_jax.data import input_set
  from hermesflow_jax.sampling import likelihoods
  from hermesflow_jax.sampling import scored_images
  from hermesflow_jax.sampling import unified_model
  from hermesflow_jax.scoring import checked_scores
  from hermesflow_jax.scoring import clip_encoder
  from hermesflow_jax.scoring import imported_function
  from hermesflow_jax.scoring import service_scorers

SETTING = user_scorers.SETTING
ANSWERS = 'answers'
# Scale of each scorer: its name, its largest value, and whether it is a share,
# whose threshold is `rules.least_win`. Others have no threshold by default.
SCALES = {
  ANSWERS: ('a share of right answers', 1.0, True),
  'soft': ('a probability', 1.0, True),
  'caption_likelihood': ('a mean log-probability', 0.0, False),
  'image_likelihood': ('a mean log-probability', 0.0, False),
  'clip': ('a cosine', 1.0, False),
  reward_service.NAME: ('a score of a service', math.inf, False),
}


def check_name(name: str) -> None:
  """Raises ValueError for a name that no scorer has.

  Args:
    name: value of the setting.
  """
  if name not in SCALES and not imported_function.is_path(name):
    raise ValueError(
      f'{SETTING} must be one of {", ".join(SCALES)}, or the import path of a '
      f'function of your own (my_module:my_scorer), got {name!r}'
    )


def check_rules(name: str, least_score: float | None) -> None:
  """Raises ValueError for a threshold that no image can exceed.

  Args:
    name: value of the setting.
    least_score: `PairRules.least_score`.
  """
  if least_score is None:
    return
  scale, most, _ = SCALES.get(name, ('a score of your own', math.inf, False))
  if not least_score < most:
    raise ValueError(
      f'rules.least_score must be less than {most:g}, the largest value of '
      f'{scale}, with {SETTING}={name}, got {least_score}: no pair would be '
      'kept'
    )


def default_least_score(name: str) -> float | None:
  """Returns the threshold of a scorer; None for `PairRules.least_win`.

  Args:
    name: value of the setting.
  """
  is_share = name in SCALES and SCALES[name][2]
  return None if is_share else -math.inf


def encoder_of(name: str) -> str | None:
  """Returns the name of the encoder that a scorer needs, or None.

  Args:
    name: value of the setting.
  """
  return 'clip' if name == 'clip' else None


def score_softly(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  codes: np.ndarray,
) -> tuple[np.ndarray, list[list[str]]]:
  """Scores images by the mean probability of the right answers.

  Args:
    unified: the newest model.
    inputs: N inputs.
    codes: int[N, K, I], image codes.

  Returns:
    (float64[N, K] in [0, 1], N * K lists of the likeliest answers).
  """
  questions = [q for q in inputs.questions for _ in range(codes.shape[1])]
  flat = codes.reshape(-1, codes.shape[-1])
  by_image = unified.answerer.probabilities(flat, questions)
  scores = [
    np.mean([p.get(q['answer'], 0.0) for p, q in zip(rows, records)])
    for rows, records in zip(by_image, questions)
  ]
  answers = [[max(p, key=p.get) for p in rows] for rows in by_image]
  return _checked('soft', scores, codes.shape[:2]), answers


def score_by_caption(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  codes: np.ndarray,
) -> tuple[np.ndarray, list[list[str]]]:
  """Scores images by the likelihood of their true caption.

  Args:
    unified: the newest model.
    inputs: N inputs.
    codes: int[N, K, I], image codes.

  Returns:
    (float64[N, K], mean log-probability of a token in nats; empty lists).
  """
  captions = [c for c in inputs.captions for _ in range(codes.shape[1])]
  flat = codes.reshape(-1, codes.shape[-1])
  scores = likelihoods.caption_logps(unified, flat, captions)
  checked = _checked('caption_likelihood', scores, codes.shape[:2])
  return checked, [[] for _ in captions]


def score_by_codes(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  codes: np.ndarray,
) -> tuple[np.ndarray, list[list[str]]]:
  """Scores images by their likelihood given their true caption.

  The masks derive from the name of the input, so that the same places are
  hidden in all images of a caption.

  Args:
    unified: the newest model.
    inputs: N inputs.
    codes: int[N, K, I], image codes.

  Returns:
    (float64[N, K], mean log-probability of a hidden code in nats; empty lists).
  """
  names, captions = (
    [text for text in texts for _ in range(codes.shape[1])]
    for texts in (inputs.ids, inputs.captions)
  )
  flat = codes.reshape(-1, codes.shape[-1])
  scores = likelihoods.image_logps(unified, names, flat, captions)
  checked = _checked('image_likelihood', scores, codes.shape[:2])
  return checked, [[] for _ in captions]


@dataclasses.dataclass(frozen=True)
class ClipScorer:
  """Scores images by CLIP's cosine with the true caption.

  Attributes:
    encoder: the CLIP.
  """

  encoder: clip_encoder.ClipEncoder

  def __call__(
    self,
    unified: unified_model.UnifiedModel,
    inputs: input_set.Inputs,
    codes: np.ndarray,
  ) -> tuple[np.ndarray, list[list[str]]]:
    """Returns (float64[N, K] from -1 to 1, empty lists)."""
    flat = codes.reshape(-1, codes.shape[-1])
    vectors = [
      self.encoder.encode_images(
        scored_images.decode(unified, flat[n : n + scored_images.BLOCK])
      )
      for n in range(0, len(flat), scored_images.BLOCK)
    ]
    images = np.concatenate(vectors).astype(np.float64)
    texts = self.encoder.encode_texts(inputs.captions).astype(np.float64)
    images = images.reshape(*codes.shape[:2], -1)
    scores = (images * texts[:, None]).sum(-1)
    return _checked('clip', scores, codes.shape[:2]), [[] for _ in flat]


def _checked(name: str, scores, shape) -> np.ndarray:
  """Returns scores of N * K images as float64[N, K]; refuses NaN."""
  return checked_scores.call(
    f'{SETTING} {name}', shape, lambda: np.reshape(scores, shape)
  )


def make(
  name: str, encoders, service: reward_service.RewardService | None = None
) -> Callable | None:
  """Returns an image scorer; None for the share of right answers.

  Args:
    name: value of the setting.
    encoders: `text_encoder.TextEncoders` of the job, which have the CLIP.
    service: reward service of the job, with `http_reward`.

  Raises:
    ValueError: no scorer has this name, or it cannot be imported.
  """
  check_name(name)
  if name == ANSWERS:
    return None
  if name == 'soft':
    return score_softly
  if name == 'caption_likelihood':
    return score_by_caption
  if name == 'image_likelihood':
    return score_by_codes
  if name == 'clip':
    return ClipScorer(encoders.clip())
  if name == reward_service.NAME:
    return service_scorers.ImageScorer(service)
  return user_scorers.ImageScorer(name, imported_function.load(SETTING, name))
