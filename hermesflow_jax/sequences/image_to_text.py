"""Rows of multimodal understanding: an image, a prompt, then a reply."""

import jax
import numpy as np

from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


def mmu_prefix(
  vocab: vocabulary.Vocab,
  codes: np.ndarray,
  prompts: token_rows.Texts,
  length: int,
  *,
  sot: bool = True,
) -> tuple[token_rows.Rows, np.ndarray]:
  """Returns rows whose text is to be continued.

  Args:
    vocab: the vocabulary.
    codes: int[B, I] in [0, codebook_size).
    prompts: B lists of text ids.
    length: T, of the whole row. At least 3 + I + sot + the longest prompt.
    sot: whether <|sot|> follows <|eoi|>; as in `mmu_rows`.

  Returns:
    (Rows [B, T], lengths int32[B]). Pads are on the right, so the reply of row
    b goes to slots and positions lengths[b], lengths[b] + 1, ..., over the
    pads. Nothing is scored.

  Raises:
    ValueError: a prompt does not fit.
  """
  heads = [[vocab.sot] * sot + list(prompt) for prompt in prompts]
  return _mmu(vocab, codes, heads, [[] for _ in heads], length)


def mmu_parts(
  vocab: vocabulary.Vocab,
  codes: np.ndarray,
  prompts: token_rows.Texts,
  length: int,
  *,
  sot: bool = True,
) -> tuple[token_rows.Rows, token_rows.Rows, np.ndarray]:
  """Returns the rows of `mmu_prefix` in two parts: the image, the prompt.

  All prompts about an image share the first, which never sees them.

  Args:
    vocab, codes, prompts, length, sot: see `mmu_prefix`.

  Returns:
    (Rows [B, I + 3], Rows [B, length - I - 3], lengths int32[B] of the
    prompts, without pads).

  Raises:
    ValueError: a prompt does not fit.
  """
  rows, lengths = mmu_prefix(vocab, codes, prompts, length, sot=sot)
  size = np.shape(codes)[-1] + 3
  image = jax.tree.map(lambda a: a[:, :size], rows)
  prompt = jax.tree.map(lambda a: a[:, size:], rows)
  return image, prompt, lengths - size


def mmu_rows(
  vocab: vocabulary.Vocab,
  codes: np.ndarray,
  prompts: token_rows.Texts,
  answers: token_rows.Texts,
  length: int,
  *,
  sot: bool = True,
) -> token_rows.Rows:
  """Returns rows that teach an answer about an image.

  Args:
    vocab: the vocabulary.
    codes: int[B, I] in [0, codebook_size).
    prompts: B lists of text ids, not scored.
    answers: B lists of text ids; eos is added, both are scored. An answer too
      long is cut and eos put back.
    length: T, of the whole row.
    sot: whether <|sot|> (not scored) follows <|eoi|>. The official questions
      have it, the official training rows have not; here both are the same.

  Returns:
    Rows [B, T], pads on the right.

  Raises:
    ValueError: a prompt leaves no room for eos.
  """
  heads = [[vocab.sot] * sot + list(prompt) for prompt in prompts]
  tails = [[*answer, vocab.eos] for answer in answers]
  rows, _ = _mmu(vocab, codes, heads, tails, length)
  return rows


def encode_replies(
  vocab: vocabulary.Vocab, texts: token_rows.Texts, size: int
) -> np.ndarray:
  """Returns int32[B, size]: texts with their ends, right-padded.

  A text too long is cut and eos put back, as in `mmu_rows`.
  """
  rows = [token_rows.cut(vocab, [*text, vocab.eos], size) for text in texts]
  return token_rows.right_padded(vocab, rows, size)


def _mmu(vocab, codes, heads, tails, length):
  """mmu rows of unscored heads and scored tails; rows and their lengths."""
  if len(heads) != len(tails):
    raise ValueError(f'{len(heads)} prompts, but {len(tails)} answers')
  image = token_rows.image_part(vocab, codes, len(heads))
  start = 1 + image.shape[1]
  room = length - start
  for i, (head, tail) in enumerate(zip(heads, tails)):
    wanted = len(head) + bool(tail)
    if wanted > room:
      raise ValueError(
        f'row {i}: the prompt wants {wanted} text tokens, length {length} '
        f'leaves {room}'
      )
  texts = [
    head + (token_rows.cut(vocab, tail, room - len(head)) if tail else [])
    for head, tail in zip(heads, tails)
  ]
  text = token_rows.right_padded(vocab, texts, room)
  lengths = np.array([start + len(t) for t in texts], np.int32)
  task = np.full((len(heads), 1), vocab.mmu, np.int32)
  tokens = np.concatenate([task, image, text], axis=1)
  index = np.arange(length)
  valid = index < lengths[:, None]
  head_end = np.array([start + len(head) for head in heads], np.int32)
  scored = valid & (index >= head_end[:, None])
  ar = np.broadcast_to((index == 0) | (index >= start), tokens.shape)
  rows = token_rows.Rows(
    tokens=tokens,
    labels=np.where(scored, tokens, token_rows.UNSCORED),
    ar=ar.astype(np.int32),
    valid=valid,
  )
  return rows, lengths
