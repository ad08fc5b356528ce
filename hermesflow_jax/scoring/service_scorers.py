"""Scorers of captions and images by a reward service of the user.

All processes call them; the first asks the service.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.judging import reward_service
from hermesflow_jax.sampling import scored_images
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.scoring import checked_scores


@dataclasses.dataclass(frozen=True)
class CaptionScorer:
  """Scores of captions with their images; a `text_similarity.Scorer`.

  Attributes:
    service: the reward service.
    needs_images: see `text_similarity.Scorer`.
  """

  service: reward_service.RewardService
  needs_images: bool = True

  def __call__(
    self,
    candidates: Sequence[str],
    references: Sequence[str],
    images: scored_images.ScoredImages,
  ) -> np.ndarray:
    """Scores N captions; returns float64[N] above -1.

    Raises:
      ValueError: a score is -1 or less; or see `RewardService.score`.
      ConnectionError: see `RewardService.score`.
    """
    del references
    scores = np.zeros(len(candidates))
    for captions, pixels in images.pixel_blocks():
      texts = [candidates[n] for n in captions]
      scores[captions] = self.service.score(pixels, texts)
    return checked_scores.above_minus_one(
      f'caption_scorer {reward_service.NAME} must return '
      f'float[{len(candidates)}]',
      scores,
      candidates,
    )


@dataclasses.dataclass(frozen=True)
class ImageScorer:
  """Scores of images with their true captions; for `image_scorers`.

  Attributes:
    service: the reward service.
  """

  service: reward_service.RewardService

  def __call__(
    self,
    unified: unified_model.UnifiedModel,
    inputs: input_set.Inputs,
    codes: np.ndarray,
  ) -> tuple[np.ndarray, list[list[str]]]:
    """Returns (float64[N, K], empty lists); see `RewardService.score`."""
    flat = codes.reshape(-1, codes.shape[-1])
    captions = [c for c in inputs.captions for _ in range(codes.shape[1])]
    scores = [
      self.service.score(
        scored_images.decode(unified, flat[n : n + scored_images.BLOCK]),
        captions[n : n + scored_images.BLOCK],
      )
      for n in range(0, len(flat), scored_images.BLOCK)
    ]
    return np.concatenate(scores).reshape(codes.shape[:2]), [[] for _ in flat]
