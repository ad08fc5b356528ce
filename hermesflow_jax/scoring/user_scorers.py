"""Scorers of drawn images that are functions of the user."""

from collections.abc import Callable
import dataclasses

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.runtime import processes
from hermesflow_jax.sampling import scored_images
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.scoring import checked_scores

SETTING = 'image_scorer'
# Forms of images that a function of the user can read.
_READS = ('pixels', 'codes')


@dataclasses.dataclass(frozen=True)
class ImageScorer:
  """A function of the user, whose scores are checked.

  It gets (images, captions, questions) of some inputs: uint8[N, K, H, W, 3], or
  codes int32[N, K, I] if it has an attribute `reads`, which is 'codes'; N true
  captions; N lists of TIFA records. It returns float[N, K]. The first process
  calls it, or all do if it has an attribute `uses_devices`, which is True.

  Attributes:
    name: import path, for errors.
    function: the function.

  Raises:
    ValueError: `reads` has another value.
  """

  name: str
  function: Callable

  def __post_init__(self):
    if self._reads not in _READS:
      raise ValueError(
        f'{SETTING} {self.name} must have an attribute reads of '
        f'{" or ".join(_READS)}, got {self._reads!r}'
      )

  @property
  def _reads(self) -> str:
    return getattr(self.function, 'reads', _READS[0])

  def __call__(
    self,
    unified: unified_model.UnifiedModel,
    inputs: input_set.Inputs,
    codes: np.ndarray,
  ) -> tuple[np.ndarray, list[list[str]]]:
    """Returns (float64[N, K], empty lists)."""
    images = codes.shape[1]
    step = max(1, scored_images.BLOCK // images)
    parts = [
      self._score(unified, inputs.part(slice(n, n + step)), codes[n : n + step])
      for n in range(0, len(inputs), step)
    ]
    return np.concatenate(parts), [[] for _ in range(len(inputs) * images)]

  def _score(self, unified, inputs, codes) -> np.ndarray:
    images = codes
    if self._reads == 'pixels':
      images = scored_images.decode(unified, codes.reshape(-1, codes.shape[-1]))
      images = images.reshape(*codes.shape[:2], *images.shape[1:])

    def score():
      return checked_scores.call(
        f'{SETTING} {self.name}',
        codes.shape[:2],
        lambda: self.function(images, inputs.captions, inputs.questions),
      )

    return np.array(processes.call_of_user(self.function, score))
