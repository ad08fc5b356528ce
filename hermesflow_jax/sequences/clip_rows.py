"""Rows of Show-o's CLIP variant: features in place of image codes.

  <|mmu|> system <|soi|> features <|eoi|> prompt answer eos pads

Labels stand at the position of the token they name, as in all rows
(prompting.py); who sees whom is `attention_mask.mask_matrix_with_features`.
"""

from collections.abc import Sequence

import numpy as np

from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


def clip_mmu_rows(
  vocab: vocabulary.Vocab,
  system: Sequence[int],
  features: int,
  prompts: token_rows.Texts,
  answers: token_rows.Texts,
  length: int,
) -> tuple[token_rows.Rows, np.ndarray]:
  """Returns rows, and where the features go.

  Args:
    vocab: the vocabulary.
    system: ids of the system prompt, 28 of them in the official rows.
    features: S, the number of features, 576 in the official rows.
    prompts: B lists of text ids, not scored.
    answers: B lists of text ids; eos is added, both are scored. Empty lists
      for rows that are to be continued.
    length: T, of the whole row.

  Returns:
    (Rows [B, T], bool[T], True at the features). Pads fill the right, and
    stand in for the features, where they count as valid.

  Raises:
    ValueError: a row does not fit.
  """
  begin = len(system) + 2
  index = np.arange(length)
  head = [vocab.mmu, *system, vocab.soi]
  head += [vocab.pad] * features + [vocab.eoi]
  tails = [[*answer, vocab.eos] if answer else [] for answer in answers]
  rows = [
    [*head, *prompt, *tail] for prompt, tail in zip(prompts, tails, strict=True)
  ]
  longest = max(map(len, rows), default=0)
  if longest > length:
    raise ValueError(f'a row has {longest} tokens, length is {length}')
  padded = [row + [vocab.pad] * (length - len(row)) for row in rows]
  tokens = np.array(padded, np.int32).reshape(-1, length)
  sizes = np.array([len(row) for row in rows], np.int32)
  scored = sizes - np.array([len(tail) for tail in tails], np.int32)
  valid = index < sizes[:, None]
  answered = valid & (index >= scored[:, None])
  return token_rows.Rows(
    tokens=tokens,
    labels=np.where(answered, tokens, token_rows.UNSCORED),
    ar=np.ones_like(tokens),
    valid=valid,
  ), (index >= begin) & (index < begin + features)
