"""Rows of Show-o's CLIP variant, with CLIP features instead of image codes.

  <|mmu|> system <|soi|> features <|eoi|> prompt answer eos pads

Labels have the form of `token_rows`; the attention mask of these rows is
`attention_mask.mask_matrix_with_features`.
"""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

# 28 tokens of Phi-1.5's tokenizer.
SYSTEM_PROMPT = (
  'A chat between a curious user and an artificial intelligence assistant. The '
  "assistant gives helpful, detailed, and polite answers to the user's "
  'questions.'
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClipImage:
  """Image part of rows, whose features a model computes from pixels.

  Attributes:
    tokens: int32[..., E], <|mmu|> system <|soi|> pads <|eoi|>.
    pixels: uint8[..., H, W, 3].
    start: position of the first feature.
  """

  tokens: np.ndarray
  pixels: np.ndarray
  start: int = dataclasses.field(metadata={'static': True})


def user_turn(question: str) -> str:
  """Formats a question as a prompt, in the form of the CLIP variant."""
  return f'USER: {question} {text_tokenizer.ASSISTANT}'


def clip_parts(
  vocab: vocabulary.Vocab,
  system: Sequence[int],
  features: int,
  pixels: np.ndarray,
  prompts: token_rows.Texts,
  space: int,
) -> tuple[ClipImage, token_rows.Rows, np.ndarray]:
  """Builds rows that end in a prompt, split as by `image_to_text.mmu_parts`.

  Args:
    vocab: token ids.
    system: ids of the system prompt.
    features: S, features per image.
    pixels: uint8[B, H, W, 3].
    prompts: B lists with text ids.
    space: P, tokens for a prompt.

  Returns:
    (ClipImage of B images, prompt Rows [B, P], lengths int32[B] of the prompts
    without pads). E is len(system) + S + 3.

  Raises:
    ValueError: a prompt does not fit into `space`.
  """
  size = len(system) + features + 3
  rows, _ = clip_mmu_rows(
    vocab, system, features, prompts, [[]] * len(prompts), size + space
  )
  lengths = rows.valid.sum(-1).astype(np.int32) - size
  image = ClipImage(rows.tokens[:, :size], pixels, len(system) + 2)
  return image, jax.tree.map(lambda a: a[:, size:], rows), lengths


def features_first(
  vocab: vocabulary.Vocab,
  system: Sequence[int],
  features: int,
  prompt: Sequence[int],
) -> token_rows.Rows:
  """Builds an image and a prompt in an order with simple attention masks.

    features <|mmu|> system <|soi|> <|eoi|> prompt

  All tokens see all features. With the features first, the keys of every token
  are contiguous; the order of tokens changes nothing else, as
  `features_first_layout` has their positions in the official row.

  Args:
    vocab: token ids.
    system: ids of the system prompt.
    features: S, features per image.
    prompt: text ids.

  Returns:
    Rows [1, E] without pads or labels; the tokens at the features are pads.
  """
  row = [vocab.pad] * features + [vocab.mmu, *system, vocab.soi, vocab.eoi]
  tokens = np.array([[*row, *prompt]], np.int32)
  return token_rows.Rows(
    tokens=tokens,
    labels=np.full_like(tokens, token_rows.UNSCORED),
    ar=np.ones_like(tokens),
    valid=np.ones_like(tokens, bool),
  )


def features_first_layout(
  size: int, features: int, start: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns positions and masks of `features_first`.

  >>> positions, ends = features_first_layout(size=6, features=2, start=3)
  >>> positions.tolist(), ends.tolist()
  ([3, 4, 0, 1, 2, 5], [5, 5, 3, 4, 5, 6])

  Args:
    size: E, tokens of the row.
    features: S, features per image.
    start: position of the first feature in the official row.

  Returns:
    (positions int32[E] in the official row, ends int32[E] of the keys that a
    token sees, from key 0 on).
  """
  index = np.arange(size, dtype=np.int32)
  is_feature, is_head = index < features, index < features + start
  positions = np.where(
    is_feature, index + start, np.where(is_head, index - features, index)
  )
  ends = np.where(is_feature, features + start, index + 1)
  return positions, ends


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
