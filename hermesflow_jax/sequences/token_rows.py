"""Rows of tokens for the three tasks: t2i, mmu and lm; numpy, on the host.

  t2i  pads <|t2i|> bos text eos <|soi|> codes <|eoi|>      labels in place
  mmu  <|mmu|> <|soi|> codes <|eoi|> [sot] prompt answer eos pads  next token
  lm   bos text eos pads                                           next token

Labels stand at the position of the token they name in ALL rows, -100 where
nothing is scored. A t2i row is scored in place: logits[t] against labels[t].
mmu and lm rows are scored by the token before: logits[t] against labels[t+1],
see `log_likelihood.next_labels`. Positions count from 0 over the whole row, pads
included: `arange(T)`.
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
  """A batch of rows of one length.

  Attributes:
    tokens: int32[B, T], vocabulary ids.
    labels: int32[B, T], vocabulary ids, -100 where nothing is scored.
    ar: int32[B, T], the attention blocks, see `attention_mask.mask_matrix`.
    valid: bool[B, T], False on pads.
  """

  tokens: np.ndarray
  labels: np.ndarray
  ar: np.ndarray
  valid: np.ndarray


@dataclasses.dataclass(frozen=True)
class Lengths:
  """The sizes of rows; one set per run, so that every row compiles alike.

  Attributes:
    max_text: text tokens of t2i rows, bos and eos included.
    mmu: T of mmu rows that are trained on.
    prompt: T of mmu rows that end in a prompt, before the reply.
    lm: T of lm rows.
    reply: tokens of a sampled reply at most.
  """

  max_text: typing.Annotated[int, settings.at_least(2)]
  mmu: typing.Annotated[int, settings.at_least(2)]
  prompt: typing.Annotated[int, settings.at_least(2)]
  lm: typing.Annotated[int, settings.at_least(2)]
  reply: typing.Annotated[int, settings.at_least(2)]

  def __post_init__(self):
    settings.check(self)


def lm_rows(vocab: vocabulary.Vocab, texts: Texts, length: int) -> Rows:
  """Returns rows of text alone.

  Args:
    vocab: the vocabulary.
    texts: B lists of text ids; bos is put in front unless it is there.
    length: T. A longer text is cut, without an eos: it goes on.

  Returns:
    Rows [B, T], pads on the right, every token scored.
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
  """int32[B, I + 2], <|soi|> codes <|eoi|> as vocabulary ids."""
  codes = np.asarray(codes)
  if codes.ndim != 2 or len(codes) != rows:
    raise ValueError(f'codes have shape {codes.shape}, wanted ({rows}, I)')
  if codes.size and not 0 <= codes.min() <= codes.max() < vocab.codebook_size:
    raise ValueError(
      f'codes lie in [{codes.min()}, {codes.max()}], wanted '
      f'[0, {vocab.codebook_size})'
    )
  codes = codes.astype(np.int32) + vocab.image_offset
  return np.pad(
    codes, ((0, 0), (1, 1)), constant_values=((0, 0), (vocab.soi, vocab.eoi))
  )


def with_bos(vocab, text):
  """A text that starts with bos."""
  text = list(text)
  return text if text[:1] == [vocab.bos] else [vocab.bos, *text]


def cut(vocab, row, size):
  """A row of at most `size` tokens; one that was cut ends with eos again."""
  return row if len(row) <= size else [*row[: size - 1], vocab.eos]


def right_padded(vocab, rows, size):
  """int32[B, size] of rows no longer than that."""
  padded = [row + [vocab.pad] * (size - len(row)) for row in rows]
  return np.array(padded, np.int32).reshape(-1, size)
