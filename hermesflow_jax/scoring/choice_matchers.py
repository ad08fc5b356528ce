"""Matchers of free answers by name: the choice nearest to a reply.

ngram              n-grams of letters, without a model (text_similarity.py)
sentence           cosine of mean-pooled states of all-mpnet-base-v2, as in
                   the official code
my_module:matcher  a function of the user
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import itertools

import numpy as np

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.sequences import text_similarity

with lazy_modules.on_first_use():
  from hermesflow_jax.models import text_pooling
  from hermesflow_jax.scoring import imported_function
  from hermesflow_jax.scoring import text_encoder

SETTING = 'answer_matcher'
MATCHERS: dict[str, text_similarity.Matcher] = {
  'ngram': text_similarity.nearest_choices
}
# name: encoder in `encoder_settings.SOURCES`.
ENCODER_MATCHERS = {'sentence': 'sentence'}


@dataclasses.dataclass(frozen=True)
class EncoderMatcher:
  """Nearest choice by the cosine of vectors; a `text_similarity.Matcher`.

  Attributes:
    encoder: text encoder.
  """

  encoder: text_encoder.TextEncoder

  def __call__(
    self, replies: Sequence[str], choices: Sequence[Sequence[str]]
  ) -> list[int]:
    """Returns N choice indices, the first of equally near choices.

    Every reply has a nearest choice, as in the official code; also a blank one.
    """
    if not replies:
      return []
    texts = [*replies, *itertools.chain(*choices)]
    vectors = self.encoder.encode(texts, text_pooling.masked_mean)
    rest, numbers = vectors[len(replies) :], []
    for vector, names in zip(vectors, choices):
      mine, rest = rest[: len(names)], rest[len(names) :]
      numbers.append(int(text_encoder.cosines(mine, vector).argmax()))
    return numbers


@dataclasses.dataclass(frozen=True)
class CheckedMatcher:
  """A matcher of the user, whose indices are checked.

  Attributes:
    name: import path, for errors.
    function: the matcher.
  """

  name: str
  function: Callable

  def __call__(
    self, replies: Sequence[str], choices: Sequence[Sequence[str]]
  ) -> list[int | None]:
    """Returns N choice indices, None where no choice matches.

    All processes call this. The first calls the function, or all do if it has
    an attribute `uses_devices`, which is True.

    Raises:
      ValueError: the function fails, or returns something else.
    """
    return processes.call_of_user(
      self.function, lambda: self._match(replies, choices)
    )

  def _match(self, replies, choices) -> list[int | None]:
    expected = (
      f'{SETTING} {self.name} must return {len(replies)} choice indices'
    )
    try:
      numbers = list(self.function(replies, choices))
    except Exception as error:
      reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
      raise ValueError(f'{expected}, got {reason}') from error
    if len(numbers) != len(replies):
      raise ValueError(f'{expected}, got {len(numbers)}')
    for number, names, reply in zip(numbers, choices, replies):
      is_index = isinstance(number, int | np.integer) and not isinstance(
        number, bool
      )
      if number is not None and not (is_index and 0 <= number < len(names)):
        raise ValueError(
          f'{expected} or None, got {number!r:.80} for the reply {reply!r:.100}'
        )
    return [None if number is None else int(number) for number in numbers]


def check_name(name: str) -> None:
  """Raises ValueError for a name that no matcher has.

  Args:
    name: value of the setting.
  """
  if not (
    name in MATCHERS
    or name in ENCODER_MATCHERS
    or imported_function.is_path(name)
  ):
    names = ', '.join([*MATCHERS, *ENCODER_MATCHERS])
    raise ValueError(
      f'{SETTING} must be one of {names}, or the import path of a function of '
      f'your own (my_module:my_matcher), got {name!r}'
    )


def encoder_of(name: str) -> str | None:
  """Returns the name of the text encoder that a matcher needs, or None.

  Args:
    name: value of the setting.
  """
  return ENCODER_MATCHERS.get(name)


def make(
  name: str, encoders: text_encoder.TextEncoders
) -> text_similarity.Matcher:
  """Returns a matcher.

  Args:
    name: value of the setting.
    encoders: text encoders of the job.

  Raises:
    ValueError: no matcher has this name, or it cannot be imported.
  """
  check_name(name)
  if name in MATCHERS:
    return MATCHERS[name]
  if name in ENCODER_MATCHERS:
    return EncoderMatcher(encoders.get(ENCODER_MATCHERS[name]))
  return CheckedMatcher(name, imported_function.load(SETTING, name))
