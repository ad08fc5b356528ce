"""A judge of the user, whose answers are checked."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools

import numpy as np

from hermesflow_jax.runtime import processes

# Images that are decoded at once.
BLOCK = 256


@dataclasses.dataclass(frozen=True)
class CheckedJudge:
  """A `gap.Judge` around a function of the user.

  Attributes:
    name: import path, for errors.
    function: (images uint8[N, H, W, 3], questions) -> N lists of answers, for
      at most `BLOCK` images at once; see `gap.Judge`, which has codes in place
      of images. The first process calls it, or all do if it has an attribute
      `uses_devices`, which is True.
    decode: codes int32[N, I] -> images.
  """

  name: str
  function: Callable
  decode: Callable[[np.ndarray], np.ndarray]

  def __call__(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers the questions about each image; see `gap.Judge`.

    Raises:
      ValueError: the function fails, or returns something else.
    """
    answers = []
    for begin in range(0, len(questions), BLOCK):
      span = slice(begin, begin + BLOCK)
      images = self.decode(codes[span])
      answers += processes.call_of_user(
        self.function, functools.partial(self._answer, images, questions[span])
      )
    return answers

  def _answer(self, images, questions) -> list[list[str]]:
    expected = f'judge.kind {self.name} must return a text per question'
    try:
      answers = list(self.function(images, questions))
      if any(isinstance(row, str) for row in answers):
        raise TypeError('a text in place of a list of texts')
      answers = [list(row) for row in answers]
    except Exception as error:
      reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
      raise ValueError(f'{expected}, got {reason}') from error
    counts, expected_counts = list(map(len, answers)), list(map(len, questions))
    if counts != expected_counts:
      raise ValueError(
        f'{expected}, got {sum(counts)} answers about {len(counts)} images for '
        f'{sum(expected_counts)} questions about {len(expected_counts)} images'
      )
    for text in (answer for row in answers for answer in row):
      if not isinstance(text, str):
        raise ValueError(f'{expected}, got {text!r:.80}')
    return answers
