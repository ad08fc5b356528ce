"""Checks of the scores that a scorer returns, in particular of the user's."""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np


def call(name: str, shape: tuple[int, ...], function: Callable) -> np.ndarray:
  """Calls a scorer and checks its scores.

  Args:
    name: setting and scorer, for errors, e.g. 'image_scorer my_module:scorer'.
    shape: expected shape.
    function: returns scores that numpy can convert.

  Returns:
    float64 of `shape`, finite.

  Raises:
    ValueError: the function fails, or returns another shape, NaN or infinity.
  """
  expected = f'{name} must return float{list(shape)}'
  try:
    scores = np.asarray(function(), np.float64)
  except Exception as error:
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    raise ValueError(f'{expected}, got {reason}') from error
  if scores.shape != tuple(shape):
    raise ValueError(f'{expected}, got shape {scores.shape}')
  finite = np.isfinite(scores)
  if not finite.all():
    raise ValueError(f'{expected} with finite values, got {scores[~finite][0]}')
  return scores


def above_minus_one(
  expected: str, scores: np.ndarray, captions: Sequence[str]
) -> np.ndarray:
  """Returns scores of captions; refuses NaN, infinity and -1 or less.

  Args:
    expected: beginning of the error, e.g. 'caption_scorer m:f must return
      float[2]'.
    scores: float64[N].
    captions: N captions, for the error.

  Raises:
    ValueError: a score is not finite, or -1 or less.
  """
  wrong = np.flatnonzero(~(scores > -1) | ~np.isfinite(scores))
  if len(wrong):
    first = wrong[0]
    raise ValueError(
      f'{expected} with finite values above -1, got {scores[first]} for the '
      f'caption {captions[first]!r:.100}'
    )
  return scores
