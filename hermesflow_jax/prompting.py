"""Rows of tokens for the three tasks: t2i, mmu and lm; numpy, on the host.

  t2i  pads <|t2i|> bos text eos <|soi|> codes <|eoi|>      labels in place
  mmu  <|mmu|> <|soi|> codes <|eoi|> [sot] prompt answer eos pads  next token
  lm   bos text eos pads                                           next token

Labels stand at the position of the token they name in ALL rows, -100 where
nothing is scored. A t2i row is scored in place: logits[t] against labels[t].
mmu and lm rows are scored by the token before: logits[t] against labels[t+1],
see `pair_dpo.next_labels`. Positions count from 0 over the whole row, pads
included: `arange(T)`.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from hermesflow_jax import settings
from hermesflow_jax import vocab as vocab_lib

UNSCORED = -100

Texts = Sequence[Sequence[int]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
  """A batch of rows of one length.

  Attributes:
    tokens: int32[B, T], vocabulary ids.
    labels: int32[B, T], vocabulary ids, -100 where nothing is scored.
    ar: int32[B, T], the attention blocks, see `masks.visible`.
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

  max_text: int
  mmu: int
  prompt: int
  lm: int
  reply: int

  def __post_init__(self):
    fields = dataclasses.fields(self)
    settings.require(self, {field.name: 2 for field in fields})


def t2i_prefix(vocab: vocab_lib.Vocab, texts: Texts, max_text: int) -> Rows:
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
  texts = [_with_bos(vocab, text) for text in texts]
  rows = [[vocab.t2i, *text, vocab.eos] for text in texts]
  rows = [_cut(vocab, row, size) for row in rows]
  tokens = np.array(
    [[vocab.pad] * (size - len(row)) + row for row in rows], np.int32
  ).reshape(-1, size)
  return Rows(
    tokens=tokens,
    labels=np.full_like(tokens, UNSCORED),
    ar=np.ones_like(tokens),
    valid=tokens != vocab.pad,
  )


def t2i_rows(
  vocab: vocab_lib.Vocab, texts: Texts, codes: np.ndarray, max_text: int
) -> Rows:
  """Returns rows that teach an image from a text, before any masking.

  Args:
    vocab: the vocabulary.
    texts: B lists of text ids, see `t2i_prefix`.
    codes: int[B, I] in [0, codebook_size).
    max_text: see `t2i_prefix`.

  Returns:
    Rows [B, max_text + 1 + I + 2]. Every code, <|soi|> and <|eoi|> is scored;
    `masking.apply` hides some codes and keeps the labels of those. The first
    code stands at `max_text + 2`.
  """
  prefix = t2i_prefix(vocab, texts, max_text)
  image = _image(vocab, codes, len(texts))
  ar = np.zeros_like(image)
  ar[:, 0] = 1
  return Rows(
    tokens=np.concatenate([prefix.tokens, image], axis=1),
    labels=np.concatenate([prefix.labels, image], axis=1),
    ar=np.concatenate([prefix.ar, ar], axis=1),
    valid=np.concatenate([prefix.valid, image != vocab.pad], axis=1),
  )


def text_labels(rows: Rows) -> np.ndarray:
  """Returns t2i labels with the text scored too, as the official rows have it.

  Only the official understanding margin reads them (`pair_dpo`, compat).

  Args:
    rows: t2i rows, masked or not.

  Returns:
    int32[B, T].
  """
  before = np.cumsum(rows.labels != UNSCORED, axis=-1) == 0
  return np.where(before & rows.valid, rows.tokens, rows.labels)


def mmu_prefix(
  vocab: vocab_lib.Vocab,
  codes: np.ndarray,
  prompts: Texts,
  length: int,
  *,
  sot: bool = True,
) -> tuple[Rows, np.ndarray]:
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
  vocab: vocab_lib.Vocab,
  codes: np.ndarray,
  prompts: Texts,
  length: int,
  *,
  sot: bool = True,
) -> tuple[Rows, Rows, np.ndarray]:
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
  vocab: vocab_lib.Vocab,
  codes: np.ndarray,
  prompts: Texts,
  answers: Texts,
  length: int,
  *,
  sot: bool = True,
) -> Rows:
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


def replies(vocab: vocab_lib.Vocab, texts: Texts, size: int) -> np.ndarray:
  """Returns int32[B, size]: texts with their ends, right-padded.

  A text too long is cut and eos put back, as in `mmu_rows`.
  """
  rows = [_cut(vocab, [*text, vocab.eos], size) for text in texts]
  return _right_padded(vocab, rows, size)


def lm_rows(vocab: vocab_lib.Vocab, texts: Texts, length: int) -> Rows:
  """Returns rows of text alone.

  Args:
    vocab: the vocabulary.
    texts: B lists of text ids; bos is put in front unless it is there.
    length: T. A longer text is cut, without an eos: it goes on.

  Returns:
    Rows [B, T], pads on the right, every token scored.
  """
  rows = [[*_with_bos(vocab, text), vocab.eos][:length] for text in texts]
  tokens = _right_padded(vocab, rows, length)
  valid = tokens != vocab.pad
  return Rows(
    tokens=tokens,
    labels=np.where(valid, tokens, UNSCORED),
    ar=np.ones_like(tokens),
    valid=valid,
  )


def _mmu(vocab, codes, heads, tails, length):
  """mmu rows of unscored heads and scored tails; rows and their lengths."""
  if len(heads) != len(tails):
    raise ValueError(f'{len(heads)} prompts, but {len(tails)} answers')
  image = _image(vocab, codes, len(heads))
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
    head + (_cut(vocab, tail, room - len(head)) if tail else [])
    for head, tail in zip(heads, tails)
  ]
  text = _right_padded(vocab, texts, room)
  lengths = np.array([start + len(t) for t in texts], np.int32)
  task = np.full((len(heads), 1), vocab.mmu, np.int32)
  tokens = np.concatenate([task, image, text], axis=1)
  index = np.arange(length)
  valid = index < lengths[:, None]
  head_end = np.array([start + len(head) for head in heads], np.int32)
  scored = valid & (index >= head_end[:, None])
  ar = np.broadcast_to((index == 0) | (index >= start), tokens.shape)
  rows = Rows(
    tokens=tokens,
    labels=np.where(scored, tokens, UNSCORED),
    ar=ar.astype(np.int32),
    valid=valid,
  )
  return rows, lengths


def _image(vocab, codes, rows):
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


def _with_bos(vocab, text):
  """A text that starts with bos."""
  text = list(text)
  return text if text[:1] == [vocab.bos] else [vocab.bos, *text]


def _cut(vocab, row, size):
  """A row of at most `size` tokens; one that was cut ends with eos again."""
  return row if len(row) <= size else [*row[: size - 1], vocab.eos]


def _right_padded(vocab, rows, size):
  """int32[B, size] of rows no longer than that."""
  padded = [row + [vocab.pad] * (size - len(row)) for row in rows]
  return np.array(padded, np.int32).reshape(-1, size)
