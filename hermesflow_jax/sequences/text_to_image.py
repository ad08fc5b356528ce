"""Rows of text-to-image: a caption, then image tokens."""

import numpy as np

from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


def t2i_prefix(
  vocab: vocabulary.Vocab, texts: token_rows.Texts, max_text: int
) -> token_rows.Rows:
  """Returns what stands before <|soi|> in t2i rows.

  Args:
    vocab: the vocabulary.
    texts: B lists of text ids; bos is put in front unless it is there. The
      empty list is the empty condition, bos eos.
    max_text: the most text tokens, bos and eos included. A longer text is cut
      and eos put back.

  Returns:
    Rows [B, max_text + 1], padded on the left, nothing scored.
  """
  size = max_text + 1
  texts = [token_rows.with_bos(vocab, text) for text in texts]
  rows = [[vocab.t2i, *text, vocab.eos] for text in texts]
  rows = [token_rows.cut(vocab, row, size) for row in rows]
  tokens = np.array(
    [[vocab.pad] * (size - len(row)) + row for row in rows], np.int32
  ).reshape(-1, size)
  return token_rows.Rows(
    tokens=tokens,
    labels=np.full_like(tokens, token_rows.UNSCORED),
    ar=np.ones_like(tokens),
    valid=tokens != vocab.pad,
  )


def t2i_rows(
  vocab: vocabulary.Vocab,
  texts: token_rows.Texts,
  codes: np.ndarray,
  max_text: int,
) -> token_rows.Rows:
  """Returns rows that teach an image from a text, before any masking.

  Args:
    vocab: the vocabulary.
    texts: B lists of text ids, see `t2i_prefix`.
    codes: int[B, I] in [0, codebook_size).
    max_text: see `t2i_prefix`.

  Returns:
    Rows [B, max_text + 1 + I + 2]. Every code, <|soi|> and <|eoi|> is scored;
    `mask_schedules.apply_mask` hides some codes and keeps the labels of those. The first
    code stands at `max_text + 2`.
  """
  prefix = t2i_prefix(vocab, texts, max_text)
  image = token_rows.image_part(vocab, codes, len(texts))
  ar = np.zeros_like(image)
  ar[:, 0] = 1
  return token_rows.Rows(
    tokens=np.concatenate([prefix.tokens, image], axis=1),
    labels=np.concatenate([prefix.labels, image], axis=1),
    ar=np.concatenate([prefix.ar, ar], axis=1),
    valid=np.concatenate([prefix.valid, image != vocab.pad], axis=1),
  )


def lm_text_labels(rows: token_rows.Rows) -> np.ndarray:
  """Returns t2i labels with the text scored too, as the official rows have it.

  Only the official understanding margin reads them (`pair_dpo`, compat).

  Args:
    rows: t2i rows, masked or not.

  Returns:
    int32[B, T].
  """
  before = np.cumsum(rows.labels != token_rows.UNSCORED, axis=-1) == 0
  return np.where(before & rows.valid, rows.tokens, rows.labels)
