"""Images that captions are scored against."""

from collections.abc import Iterator
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

  def pixel_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Decodes the images, each once, in the order of their first captions.

    Yields:
      (positions of B captions int[B], their images uint8[B, H, W, 3]), with B
      at most `BLOCK`; each caption once.
    """
    codes, first, places = np.unique(
      self.codes, axis=0, return_index=True, return_inverse=True
    )
    by_caption = np.argsort(first)
    image_of = np.argsort(by_caption)[places.reshape(-1)]
    order = np.argsort(image_of, kind='stable')
    for begin in range(0, len(codes), BLOCK):
      pixels = decode(self.unified, codes[by_caption[begin : begin + BLOCK]])
      decoded = image_of[order] // BLOCK == begin // BLOCK
      for captions in _parts(order[decoded]):
        yield captions, pixels[image_of[captions] - begin]


def _parts(positions: np.ndarray) -> list[np.ndarray]:
  return [positions[n : n + BLOCK] for n in range(0, len(positions), BLOCK)]


def decode(unified, codes: np.ndarray, most: int | None = None) -> np.ndarray:
  """Decodes images so that each depends on its own codes alone.

  `UnifiedModel.decode` computes few images in smaller batches, which may round
  sums differently.

  Args:
    unified: a `unified_model.UnifiedModel`.
    codes: int[N, I], image codes.
    most: largest N of any call that must give the same pixels; None for any N.

  Returns:
    uint8[N, H, W, 3].
  """
  function = functools.partial(
    batched.decode_batch, unified.tokenizer, grid=unified.grid
  )
  return unified.sampler.map(
    'decoding images', function, codes, padded=True, most=most
  )


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
