"""Text-to-image rows (t2i): caption, image."""

import numpy as np

from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


def t2i_prefix(
  vocab: vocabulary.Vocab, texts: token_rows.Texts, max_text: int
) -> token_rows.Rows:
  """Builds the tokens of t2i rows before <|soi|>.

  Args:
    vocab: token ids.
    texts: B lists with text ids; bos is prepended if it is missing. An empty
      list is the empty caption of guidance, bos eos.
    max_text: maximum text tokens with bos and eos. Longer texts are
      cut and still end with eos.

  Returns:
    Rows [B, max_text + 1], left-padded; no token is scored.
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
  """Builds training rows with an image for a caption, before masking.

  Args:
    vocab: token ids.
    texts: B lists with text ids, see `t2i_prefix`.
    codes: int[B, I], image codes in [0, codebook_size).
    max_text: see `t2i_prefix`.

  Returns:
    Rows [B, max_text + 1 + I + 2]. All codes, <|soi|> and <|eoi|> are scored;
    `mask_schedules.apply_mask` masks codes and restricts the labels. The first
    code is at position `max_text + 2`.
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
  """Returns labels of t2i rows that also score the text, as in official rows.

  Only the official understanding margin uses them (`pair_dpo`).

  Args:
    rows: t2i rows, with or without masks.

  Returns:
    int32[B, T], labels.
  """
  before = np.cumsum(rows.labels != token_rows.UNSCORED, axis=-1) == 0
  return np.where(before & rows.valid, rows.tokens, rows.labels)
