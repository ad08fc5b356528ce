"""Token rows of questions about images, built when their batch is computed."""

import array
from collections.abc import Sequence
import dataclasses
from typing import Any

import jax
import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import row_parts
from hermesflow_jax.sequences import text_tokenizer

# Prompts that are tokenized together.
_ENCODED = 1_000


@dataclasses.dataclass(frozen=True)
class QuestionRows:
  """Token rows of Q questions, grouped by image.

  Memory holds the tokens of the prompts; a batch gets its rows when it is
  computed.

  Attributes:
    reader: builds the rows.
    images: N images, in a form that the reader knows.
    image_of: int[Q], the image of each question.
    prompts: Q arrays with the ids of a prompt.
    most: see `row_parts.Reader`.
    longest: tokens of the longest prompt.
    groups: int[G, S], question numbers, see `batched.group_questions`.
    is_blank: whether the images show nothing.
  """

  reader: row_parts.Reader
  images: Any
  image_of: np.ndarray
  prompts: Sequence[array.array]
  most: int
  longest: int
  groups: np.ndarray
  is_blank: bool = False

  def __len__(self) -> int:
    return len(self.prompts)

  def batch(self, index: np.ndarray) -> tuple:
    """Builds the rows of some groups.

    Args:
      index: int[B], numbers of groups.

    Returns:
      (image parts of B images, prompt Rows [B, S, P], lengths int32[B, S] of
      the prompts without pads).
    """
    groups = self.groups[index]
    count, size = groups.shape
    images, *parts = self.reader.parts(
      self.images[self.image_of[groups[:, 0]]],
      np.repeat(np.arange(count), size),
      [list(self.prompts[n]) for n in groups.ravel()],
      self.most,
      self.longest,
    )
    if self.is_blank:
      images = self.reader.blank(images)
    prompts, lengths = jax.tree.map(
      lambda a: a.reshape(count, size, *a.shape[1:]), parts
    )
    return images, prompts, lengths


def make_rows(
  reader: row_parts.Reader,
  text: text_tokenizer.TextTokenizer,
  images: Any,
  turns: Sequence[str],
  counts: Sequence[int],
  most: int,
) -> QuestionRows:
  """Returns the rows of all questions.

  Args:
    reader: builds the rows.
    text: text tokenizer.
    images: N images, in a form that the reader knows.
    turns: Q prompts, see `Reader.user_turn`, image by image.
    counts: number of questions about each image, Q in all.
    most: see `row_parts.Reader`.

  Raises:
    ValueError: a prompt does not fit.
  """
  prompts = []
  for begin in range(0, len(turns), _ENCODED):
    rows = text.encode(turns[begin : begin + _ENCODED])
    prompts += [array.array('i', row) for row in rows]
  images = reader.prepare(images)
  image_of = np.repeat(np.arange(len(counts)), counts)
  longest = max(map(len, prompts))
  # A row with the longest prompt has the sizes of all rows.
  image, row, _ = reader.parts(
    images[:1], np.zeros(1, int), [list(max(prompts, key=len))], most, longest
  )
  groups = batched.group_questions(
    counts, image.tokens.shape[-1], row.tokens.shape[-1]
  )
  return QuestionRows(reader, images, image_of, prompts, most, longest, groups)
