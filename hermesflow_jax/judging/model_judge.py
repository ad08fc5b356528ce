"""A judge that asks the model of another checkpoint."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses

import numpy as np
from PIL import Image

from hermesflow_jax.sampling import reply_openings
from hermesflow_jax.sampling import unified_model

# Images that are decoded at once.
BLOCK = 256


@dataclasses.dataclass(frozen=True)
class ModelJudge:
  """A `gap.Judge` that is a model; it also gives probabilities.

  Attributes:
    model: the model that answers.
    decode: codes of the judged model int32[N, I] -> uint8[N, H, W, 3]; None
      with `same_codes`.
    same_codes: whether the judge has the image tokenizer and the image size of
      the judged model. Otherwise it gets decoded images, and encodes them in
      its size, or reads them by its CLIP tower.
  """

  model: unified_model.UnifiedModel
  decode: Callable[[np.ndarray], np.ndarray] | None
  same_codes: bool

  def __call__(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers questions about images, see `gap.Judge`."""
    # A copy, so that its sampling weights are freed afterwards.
    model, answers = dataclasses.replace(self.model), []
    for span, images in self._images(model, codes):
      answers += model.answer(images, questions[span])
    return answers

  def probabilities(
    self,
    codes: np.ndarray,
    questions: Sequence[Sequence[dict]],
    forms: Sequence[Sequence[Sequence[str]]],
  ) -> list[list[float]]:
    """Returns the probability of right answers.

    Args:
      codes: int32[N, I], image codes of the judged model.
      questions: N lists with TIFA records.
      forms: written forms of answers, see `reply_openings.probabilities`.
    """
    model, shares = dataclasses.replace(self.model), []
    for span, images in self._images(model, codes):
      shares += reply_openings.probabilities(
        model.answerer, images, questions[span], forms[span]
      )
    return shares

  def _images(self, model, codes) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (positions, images in a form that the judge reads)."""
    everything = slice(0, len(codes))
    if self.same_codes:
      yield everything, codes
    elif self.model.vision is not None:
      for span, images in _decoded(self.decode, codes):
        yield span, images[: len(codes[span])]
    else:
      size = self.model.grid[0] * self.model.tokenizer.reduction
      yield everything, _encode(model, self.decode, codes, size)


def make(
  judge: unified_model.UnifiedModel,
  decode: Callable[[np.ndarray], np.ndarray] | None = None,
  same_codes: bool = True,
) -> ModelJudge:
  """Returns a judge; see `ModelJudge`."""
  return ModelJudge(judge, decode, same_codes)


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
