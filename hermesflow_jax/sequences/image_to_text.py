"""Image-to-text rows (mmu): image, prompt, reply."""

from collections.abc import Sequence

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
  """Builds rows that end in a prompt, for sampling a reply.

  Args:
    vocab: token ids.
    codes: int[B, I], image codes in [0, codebook_size).
    prompts: B lists with text ids.
    length: T, row length, at least 3 + I + sot + the longest prompt.
    sot: whether <|sot|> follows <|eoi|>, as in `mmu_rows`.

  Returns:
    (Rows [B, T], lengths int32[B] without pads). Rows are right-padded, so
    the reply of row b replaces the pads from position lengths[b] on. No token
    is scored.

  Raises:
    ValueError: a prompt does not fit into `length`.
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
  """Splits the rows of `mmu_prefix` into an image part and a prompt part.

  All prompts about an image can share the cache of the image part, which does
  not attend to them.

  Args:
    vocab: token ids.
    codes: int[B, I], image codes in [0, codebook_size).
    prompts: B lists with text ids.
    length: T, whole row length.
    sot: whether <|sot|> follows <|eoi|>, as in `mmu_rows`.

  Returns:
    (image Rows [B, I + 3], prompt Rows [B, T - I - 3], lengths int32[B] of the
    prompts without pads).

  Raises:
    ValueError: a prompt does not fit into `length`.
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
  """Builds training rows with an answer about an image.

  Args:
    vocab: token ids.
    codes: int[B, I], image codes in [0, codebook_size).
    prompts: B lists with text ids, not scored.
    answers: B lists with text ids; eos is appended, both are scored. Long
      answers are cut and still end with eos.
    length: T, row length.
    sot: whether <|sot|> (not scored) follows <|eoi|>. In the official code it
      does in questions but not in training rows; by default it does in both.

  Returns:
    Rows [B, T], right-padded.

  Raises:
    ValueError: a prompt and eos do not fit into `length`.
  """
  heads = [[vocab.sot] * sot + list(prompt) for prompt in prompts]
  tails = [[*answer, vocab.eos] for answer in answers]
  rows, _ = _mmu(vocab, codes, heads, tails, length)
  return rows


def conversation_rows(
  vocab: vocabulary.Vocab,
  codes: np.ndarray,
  conversations: Sequence[Sequence[tuple[Sequence[int], Sequence[int]]]],
  length: int,
  *,
  sot: bool = False,
) -> token_rows.Rows:
  """Builds training rows with the turns of a conversation about an image.

  LLaVA's form (arXiv 2304.08485), as Show-o was trained: every reply and its
  eos are scored, prompts are not.

  Args:
    vocab: token ids.
    codes: int[B, I], image codes in [0, codebook_size).
    conversations: B lists of turns, (prompt ids, reply ids); eos is appended to
      each reply. A long first reply is cut and still ends with eos; later turns
      that do not fit completely are left out.
    length: T, row length.
    sot: whether <|sot|> (not scored) follows <|eoi|>; see `mmu_rows`.

  Returns:
    Rows [B, T], right-padded.

  Raises:
    ValueError: the first prompt and eos do not fit into `length`.
  """
  heads = [[vocab.sot] * sot + list(turns[0][0]) for turns in conversations]
  tails = [[*turns[0][1], vocab.eos] for turns in conversations]
  rows, lengths = _mmu(vocab, codes, heads, tails, length)
  for row, turns in enumerate(conversations):
    end = lengths[row]
    for prompt, reply in turns[1:]:
      scored, after = end + len(prompt), end + len(prompt) + len(reply) + 1
      if after > length:
        break
      rows.tokens[row, end:after] = [*prompt, *reply, vocab.eos]
      rows.labels[row, scored:after] = rows.tokens[row, scored:after]
      rows.valid[row, end:after] = True
      end = after
  return rows


def encode_replies(
  vocab: vocabulary.Vocab, texts: token_rows.Texts, size: int
) -> np.ndarray:
  """Builds padded replies for training.

  Args:
    vocab: token ids.
    texts: B lists with text ids; eos is appended. Long texts are cut and still
      end with eos.
    size: length of a reply with eos and pads.

  Returns:
    int32[B, size], right-padded.
  """
  rows = [token_rows.cut(vocab, [*text, vocab.eos], size) for text in texts]
  return token_rows.right_padded(vocab, rows, size)


def _mmu(vocab, codes, heads, tails, length):
  """Builds mmu rows from unscored heads and scored tails."""
  if len(heads) != len(tails):
    raise ValueError(
      f'answers must have a text for each of the {len(heads)} prompts, got '
      f'{len(tails)}'
    )
  image = token_rows.image_part(vocab, codes, len(heads))
  start = 1 + image.shape[1]
  space = length - start
  for i, (head, tail) in enumerate(zip(heads, tails)):
    needed = len(head) + bool(tail)
    if needed > space:
      raise ValueError(
        f'length must be at least {start + needed} for the prompt of row {i}, '
        f'got {length}'
      )
  texts = [
    head + (token_rows.cut(vocab, tail, space - len(head)) if tail else [])
    for head, tail in zip(heads, tails)
  ]
  text = token_rows.right_padded(vocab, texts, space)
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
