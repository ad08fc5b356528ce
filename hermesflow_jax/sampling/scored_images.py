"""Images that captions are scored against."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sequences import text_similarity

# Images that the host holds as pixels at once, for scorers that read pixels.
BLOCK = 256


@dataclasses.dataclass(frozen=True)
class ScoredImages:
  """The images of N captions; the captions of an image repeat it.

  Attributes:
    unified: a `unified_model.UnifiedModel`, which decodes.
    names: N names of inputs.
    codes: int[N, I], image codes.
  """

  unified: Any
  names: Sequence[str]
  codes: np.ndarray

  def pixels(self) -> np.ndarray:
    """Decodes the images, each once; returns uint8[N, H, W, 3]."""
    codes, places = np.unique(self.codes, axis=0, return_inverse=True)
    return decode(self.unified, codes)[places.reshape(-1)]


def decode(unified, codes: np.ndarray) -> np.ndarray:
  """Decodes images so that each depends on its own codes alone.

  `UnifiedModel.decode` computes few images in smaller batches, which may round
  sums differently.

  Args:
    unified: a `unified_model.UnifiedModel`.
    codes: int[N, I], image codes.

  Returns:
    uint8[N, H, W, 3].
  """
  function = functools.partial(
    batched.decode_batch, unified.tokenizer, grid=unified.grid
  )
  return unified.sampler.map('decoding images', function, codes, padded=True)


def score_captions(
  scorer: text_similarity.Scorer,
  candidates: Sequence[str],
  references: Sequence[str],
  images: ScoredImages,
) -> np.ndarray:
  """Scores captions by a scorer that may read their images.

  All processes call it if `text_similarity.uses_devices(scorer)`.

  Args:
    scorer: caption scorer.
    candidates: N texts.
    references: N true captions.
    images: the images of the N candidates.

  Returns:
    float[N].
  """
  if text_similarity.needs_images(scorer):
    return np.asarray(scorer(candidates, references, images))
  return np.asarray(scorer(candidates, references))
