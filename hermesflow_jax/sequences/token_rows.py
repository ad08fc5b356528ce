"""Token rows of the three tasks t2i, mmu and lm, built on the host with numpy.

  t2i  pads <|t2i|> bos text eos <|soi|> codes <|eoi|>      labels in place
  mmu  <|mmu|> <|soi|> codes <|eoi|> [sot] prompt answer eos pads  next token
  lm   bos text eos pads                                           next token

In all rows the label of a token is stored at the position of this token; -100
marks tokens that are not scored. A t2i row is scored in place: logits[t]
against labels[t]. mmu and lm rows are scored by next-token prediction:
logits[t] against labels[t+1], see `log_likelihood.next_labels`. Positions are
`arange(T)`, pads included.
"""

from collections.abc import Sequence
import dataclasses
import typing

import jax
import numpy as np

from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import vocabulary

UNSCORED = -100

Texts = Sequence[Sequence[int]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  """Batch of equally long rows.

  Attributes:
    tokens: int32[B, T], vocabulary ids.
    labels: int32[B, T], vocabulary ids, or UNSCORED.
    ar: int32[B, T], 1 opens an attention block, 0 extends it; see
      `attention_mask.mask_matrix`.
    valid: bool[B, T], False on pads.
  """

  tokens: np.ndarray
  labels: np.ndarray
  ar: np.ndarray
  valid: np.ndarray


@dataclasses.dataclass(frozen=True)
class Lengths:
  """Lengths of rows in tokens; fixed within a run, so shapes are static.

  Attributes:
    max_text: text tokens of t2i rows, with bos and eos.
    mmu: T of mmu training rows.
    prompt: T of mmu rows that end in a prompt, before the reply.
    lm: T of lm rows.
    reply: maximum tokens in a sampled reply.

  Raises:
    ValueError: a length is below 2.
  """

  max_text: typing.Annotated[int, settings.at_least(2)]
  mmu: typing.Annotated[int, settings.at_least(2)]
  prompt: typing.Annotated[int, settings.at_least(2)]
  lm: typing.Annotated[int, settings.at_least(2)]
  reply: typing.Annotated[int, settings.at_least(2)]

  def __post_init__(self):
    settings.check(self)


def lm_rows(vocab: vocabulary.Vocab, texts: Texts, length: int) -> Rows:
  """Builds rows of plain text.

  Args:
    vocab: token ids.
    texts: B lists with text ids; bos is prepended if it is missing.
    length: T, row length. Longer texts are cut and have no eos, because
      they continue.

  Returns:
    Rows [B, T], right-padded; all tokens but pads are scored.
  """
  rows = [[*with_bos(vocab, text), vocab.eos][:length] for text in texts]
  tokens = right_padded(vocab, rows, length)
  valid = tokens != vocab.pad
  return Rows(
    tokens=tokens,
    labels=np.where(valid, tokens, UNSCORED),
    ar=np.ones_like(tokens),
    valid=valid,
  )


def image_part(vocab, codes, rows):
  """Builds the image part of rows, <|soi|> codes <|eoi|>.

  Args:
    vocab: token ids.
    codes: int[B, I], image codes in [0, codebook_size).
    rows: B, row count.

  Returns:
    int32[B, I + 2], vocabulary ids.

  Raises:
    ValueError: `codes` has another shape, or values out of range.
  """
  codes = np.asarray(codes)
  if codes.ndim != 2 or len(codes) != rows:
    raise ValueError(f'codes must have shape ({rows}, I), got {codes.shape}')
  if codes.size and not 0 <= codes.min() <= codes.max() < vocab.codebook_size:
    raise ValueError(
      f'codes must lie in [0, {vocab.codebook_size}), got values in '
      f'[{codes.min()}, {codes.max()}]'
    )
  codes = codes.astype(np.int32) + vocab.image_offset
  return np.pad(
    codes, ((0, 0), (1, 1)), constant_values=((0, 0), (vocab.soi, vocab.eoi))
  )


def with_bos(vocab, text):
  """Prepends bos to a list of text ids if it is missing."""
  text = list(text)
  return text if text[:1] == [vocab.bos] else [vocab.bos, *text]


def cut(vocab, row, size):
  """Cuts a row to `size` tokens; a row that is cut still ends with eos."""
  return row if len(row) <= size else [*row[: size - 1], vocab.eos]


def right_padded(vocab, rows, size):
  """Pads rows on the right to int32[B, size]."""
  padded = [row + [vocab.pad] * (size - len(row)) for row in rows]
  return np.array(padded, np.int32).reshape(-1, size)
