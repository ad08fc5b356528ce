"""Rows of Show-o's CLIP variant, with CLIP features instead of image codes.

  <|mmu|> system <|soi|> features <|eoi|> prompt answer eos pads

Labels have the form of `token_rows`; the attention mask of these rows is
`attention_mask.mask_matrix_with_features`.
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
  """Builds rows with placeholders for CLIP features.

  Args:
    vocab: token ids.
    system: ids of the system prompt; the official rows have 28.
    features: S, features per image; the official rows have 576.
    prompts: B lists with text ids, not scored.
    answers: B lists with text ids; eos is appended, both are scored. An empty
      list leaves the reply to a sampler.
    length: T, row length.

  Returns:
    (Rows [B, T], right-padded; bool[T], True at the features). The tokens at
    the features are valid pads.

  Raises:
    ValueError: a row does not fit into `length`.
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
    raise ValueError(
      f'length must be at least {longest} for these rows, got {length}'
    )
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
