"""A judge that asks the model of another checkpoint."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np
from PIL import Image

from hermesflow_jax.sampling import unified_model

# Images that are decoded at once.
BLOCK = 256


def make(
  judge: unified_model.UnifiedModel,
  decode: Callable[[np.ndarray], np.ndarray],
  same_codes: bool,
) -> Callable:
  """Returns a `gap.Judge`.

  Args:
    judge: the model that answers.
    decode: codes of the judged model int32[N, I] -> uint8[N, H, W, 3].
    same_codes: whether the judge has the image tokenizer and the image size of
      the judged model. Otherwise it encodes the decoded images, in its size.
  """

  def answer(
    codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    # A copy, so that its sampling weights are freed afterwards.
    model = dataclasses.replace(judge)
    if not same_codes:
      size = judge.grid[0] * judge.tokenizer.reduction
      codes = _encode(model, decode, codes, size)
    return model.answer(codes, questions)

  return answer


def _encode(model, decode, codes, size) -> np.ndarray:
  """Returns the codes of a judge for images of another model: int32[N, I]."""
  parts = []
  for begin in range(0, len(codes), BLOCK):
    part = codes[begin : begin + BLOCK]
    # Blocks of the same size: an image has the same codes in each.
    places = np.arange(min(BLOCK, len(codes)))
    images = decode(part[np.minimum(places, len(part) - 1)])
    parts.append(model.encode(_resized(images, size))[: len(part)])
  return np.concatenate(parts)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
  """Returns square images in another size: uint8[N, size, size, 3]."""
  if images.shape[1] == size:
    return images
  return np.stack(
    [
      np.asarray(
        Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
      )
      for image in images
    ]
  )
