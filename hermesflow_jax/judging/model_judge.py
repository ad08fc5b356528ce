"""A judge that asks the model of another checkpoint."""

from collections.abc import Callable
from collections.abc import Iterator
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
    if judge.vision is not None:
      answers = []
      for span, images in _decoded(decode, codes):
        answers += model.answer(images[: len(questions[span])], questions[span])
      return answers
    size = judge.grid[0] * judge.tokenizer.reduction
    return model.answer(_encode(model, decode, codes, size), questions)

  return answer


def _encode(model, decode, codes, size) -> np.ndarray:
  """Returns the codes of a judge for images of another model: int32[N, I]."""
  parts = [
    model.encode(_resized(images, size))[: len(codes[span])]
    for span, images in _decoded(decode, codes)
  ]
  return np.concatenate(parts)


def _decoded(decode, codes) -> Iterator[tuple[slice, np.ndarray]]:
  """Yields (positions, images of their codes) in blocks of the same size.

  An image has the same pixels in each. The last block is filled up with copies
  of its last image.
  """
  for begin in range(0, len(codes), BLOCK):
    span = slice(begin, begin + BLOCK)
    part, places = codes[span], np.arange(min(BLOCK, len(codes)))
    yield span, decode(part[np.minimum(places, len(part) - 1)])


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
