"""Tokens of replies, as they follow a prompt."""

from collections.abc import Callable
from collections.abc import Sequence


def encode_replies(
  encode: Callable[[list[str]], list[list[int]]],
  end: str,
  replies: Sequence[str],
  space: str = ' ',
) -> list[list[int]]:
  """Returns the token ids of replies, without the prompt and without eos.

  Args:
    encode: texts -> token ids of each.
    end: last word of a prompt.
    replies: texts, without the space after the prompt.
    space: separator between prompt and reply.

  Raises:
    ValueError: the tokenizer merges the end of the prompt with a reply.
  """
  # An empty reply is only its end token, without a space before it.
  before, *rows = encode(
    [end, *(f'{end}{space}{reply}' if reply else end for reply in replies)]
  )
  for reply, row in zip(replies, rows, strict=True):
    if row[: len(before)] != before:
      raise ValueError(
        f'the tokenizer must keep {end!r} apart from a reply, got '
        f'joined tokens for the reply {reply!r}'
      )
  return [row[len(before) :] for row in rows]
