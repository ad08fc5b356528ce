"""A judge that asks the model of another checkpoint."""

from collections.abc import Callable
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
    decode: codes of the judged model int32[N, I] -> uint8[N, H, W, 3].
    same_codes: whether the judge has the image tokenizer and the image size of
      the judged model. Otherwise it encodes the decoded images, in its size.
  """

  model: unified_model.UnifiedModel
  decode: Callable[[np.ndarray], np.ndarray] | None
  same_codes: bool

  def __call__(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers questions about images, see `gap.Judge`."""
    model, codes = self._prepare(codes)
    return model.answer(codes, questions)

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
    model, codes = self._prepare(codes)
    return reply_openings.probabilities(model.answerer, codes, questions, forms)

  def _prepare(self, codes):
    # A copy, so that its sampling weights are freed afterwards.
    model = dataclasses.replace(self.model)
    if self.same_codes:
      return model, codes
    size = self.model.grid[0] * self.model.tokenizer.reduction
    return model, _encode(model, self.decode, codes, size)


def make(
  judge: unified_model.UnifiedModel,
  decode: Callable[[np.ndarray], np.ndarray] | None = None,
  same_codes: bool = True,
) -> ModelJudge:
  """Returns a judge; see `ModelJudge`."""
  return ModelJudge(judge, decode, same_codes)


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
