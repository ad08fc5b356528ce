"""A judge that asks the model of another checkpoint."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np
from PIL import Image

from hermesflow_jax.sampling import unified_model


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
      the judged model. Otherwise it gets decoded images, and encodes them in
      its size, or reads them by its CLIP tower.
  """

  def answer(
    codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    # A copy, so that its sampling weights are freed afterwards.
    model = dataclasses.replace(judge)
    if same_codes:
      return model.answer(codes, questions)
    images = decode(codes)
    if judge.vision is None:
      size = judge.grid[0] * judge.tokenizer.reduction
      images = model.encode(_resized(images, size))
    return model.answer(images, questions)

  return answer


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
