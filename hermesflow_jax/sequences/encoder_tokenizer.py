"""Tokenizers of text encoders: rows between the tokens of start and end."""

from collections.abc import Sequence

from hermesflow_jax.sequences import text_tokenizer


class EncoderTokenizer:
  """Encodes texts as rows of a text encoder, e.g. [CLS] a red ring [SEP].

  A special token in a text is split as plain text; see
  `text_tokenizer.TextTokenizer`.

  Attributes:
    text: tokenizer without start and end.
    start: id of the token before a text.
    end: id of the token after a text.
    pad: id of pads.

  Raises:
    ValueError: the tokenizer names no start or no end.
  """

  def __init__(self, text: text_tokenizer.TextTokenizer):
    self.text = text
    self.start = text.special.cls
    self.end = text.special.sep
    self.pad = text.special.pad or 0
    if self.start is None or self.end is None:
      raise ValueError(
        'the tokenizer of a text encoder must have a cls_token and a '
        'sep_token, got none; copy its tokenizer_config.json, too'
      )

  def encode(self, texts: Sequence[str], most: int) -> list[list[int]]:
    """Returns the token ids of each text, with start and end.

    Args:
      texts: texts.
      most: most tokens of a row. A longer text is cut, as is a text that is
        longer than the limit of the tokenizer itself.

    Raises:
      ValueError: see `TextTokenizer.encode`.
    """
    inside = min(most, self.text.special.longest) - 2
    return [
      [self.start, *row[:inside], self.end] for row in self.text.encode(texts)
    ]


def load(path: str) -> EncoderTokenizer:
  """Reads a tokenizer of a text encoder.

  Args:
    path: folder for `AutoTokenizer`.

  Raises:
    ValueError: see `text_tokenizer.load` and `EncoderTokenizer`.
  """
  return EncoderTokenizer(text_tokenizer.load(path))
