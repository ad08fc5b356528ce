"""A record's two pairs in one row: what win and lose share is there once.

  caption | win codes | lose codes | image, prompt | win reply | lose reply
     0          1                          2              3

Codes see the caption and themselves, replies the image, the prompt and their
own tokens before; neither sees its rival, nor the other pair. Positions are
those of rows of their own, so the numbers are those of four forward passes.
A pair with K masks has 2 K blocks of codes.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax import likelihood
from hermesflow_jax import masks
from hermesflow_jax import pair_dpo
from hermesflow_jax import prompting
from hermesflow_jax import vocab as vocab_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Record:
  """Both pairs of one input; of a batch with [B] in front.

  Attributes:
    caption: Rows [P] of `prompting.t2i_prefix`.
    codes: int32[2, I], of the images drawn.
    image: Rows [E], the real image and the prompt, without pads.
    replies: int32[2, W], captions with their ends, right-padded.
    replied: bool[2, W], what of these is no pad.
  """

  caption: prompting.Rows
  codes: np.ndarray
  image: prompting.Rows
  replies: np.ndarray
  replied: np.ndarray


def record(
    vocab: vocab_lib.Vocab, caption, drawn: np.ndarray, real: np.ndarray,
    prompt, replies, max_text: int, most: int, *, sot: bool = True,
) -> Record:
  """Returns the arrays of one record.

  Args:
    vocab: the vocabulary.
    caption: text ids, the condition of both drawn images.
    drawn: int[2, I], codes of win and lose.
    real: int[I], the codes that both replies are about.
    prompt: text ids.
    replies: two lists of text ids.
    max_text: see `prompting.t2i_prefix`.
    most: W, tokens of a reply, its end included; a longer one is cut.
    sot: see `prompting.mmu_rows`.
  """
  rows = prompting.t2i_prefix(vocab, [caption], max_text)
  size = real.shape[-1] + 3 + sot + len(prompt)
  image, _ = prompting.mmu_prefix(
      vocab, real[None], [prompt], size, sot=sot
  )
  texts = prompting.replies(vocab, replies, most)
  return Record(
      caption=jax.tree.map(lambda a: a[0], rows),
      codes=drawn.astype(np.int32),
      image=jax.tree.map(lambda a: a[0], image),
      replies=texts, replied=texts != vocab.pad,
  )


def pack(vocab: vocab_lib.Vocab, batch: Record, hidden: jax.Array):
  """Returns the packed rows of a batch.

  Args:
    vocab: the vocabulary.
    batch: of B records.
    hidden: bool[B, K, I], the codes to mask; both sides of a pair share them.

  Returns:
    (tokens int32[B, T], positions int32[T], sees `masks.Packed`, labels of the
    codes' blocks int32[B, 2, K, I + 2]).
  """
  records, masked, size = hidden.shape
  begins, length = batch.caption.tokens.shape[-1], batch.image.tokens.shape[-1]
  # The last token of a reply predicts nothing.
  reads = batch.replies.shape[-1] - 1
  codes = batch.codes[:, :, None] + vocab.image_offset
  labels = jnp.where(hidden[:, None], codes, prompting.UNSCORED)
  codes = jnp.where(hidden[:, None], vocab.mask, codes)

  def block(a):
    ends = [(0, 0)] * 3 + [(1, 1)]
    return jnp.pad(a, ends).at[..., 0].set(vocab.soi).at[..., -1].set(vocab.eoi)

  tokens = jnp.concatenate([
      batch.caption.tokens, block(codes).reshape(records, -1),
      batch.image.tokens, batch.replies[..., :-1].reshape(records, -1),
  ], axis=-1)
  positions = jnp.concatenate([
      jnp.arange(begins), jnp.tile(begins + jnp.arange(size + 2), 2 * masked),
      jnp.arange(length), jnp.tile(length + jnp.arange(reads), 2),
  ])
  first = jnp.argmax(batch.caption.valid, axis=-1)[:, None, None]
  own = masks.intervals(batch.caption.ar, batch.caption.valid)
  shown = masks.intervals(batch.image.ar, batch.image.valid)
  sees = masks.Packed(
      segments=(
          masks.Segment(begins),
          masks.Segment(size + 2, 2 * masked, after=0),
          masks.Segment(length),
          masks.Segment(reads, 2, after=2),
      ),
      own=(
          jax.tree.map(lambda a: a[:, None], own), None,
          jax.tree.map(lambda a: a[:, None], shown),
          masks.Interval(end=1 + jnp.arange(reads)),
      ),
      before=(None, masks.Interval(start=first), None, None),
  )
  return tokens, positions, sees, block(labels)


def pair_logps(model, batch: Record, hidden: jax.Array, rows: int):
  """Scores both pairs of each record in one forward pass.

  Args:
    model: a ShowO.
    batch: of B records.
    hidden: bool[B, K, I], see `pack`.
    rows: labels of a record whose logits are in memory at once.

  Returns:
    (PairLogps, the number of scored tokens in the same form; of the images
    the mean over the masks).
  """
  tokens, positions, sees, code_labels = pack(
      model.config.vocab, batch, hidden
  )
  states, _ = model(tokens, sees, positions)
  ends = np.cumsum([s.count * s.size for s in sees.segments])
  _, blocks, image, replies = jnp.split(states, ends[:-1], axis=1)
  records, _, width = states.shape
  # The first token of both replies follows the prompt.
  before = jnp.broadcast_to(image[:, None, -1:], (records, 2, 1, width))
  replies = jnp.concatenate(
      [before, replies.reshape(records, 2, -1, width)], axis=2
  )
  reply_labels = jnp.where(
      batch.replied, batch.replies, prompting.UNSCORED
  )
  states = jnp.concatenate(
      [blocks, replies.reshape(records, -1, width)], axis=1
  )
  labels = jnp.concatenate([
      code_labels.reshape(records, -1), reply_labels.reshape(records, -1)
  ], axis=1)
  found = likelihood.of_labels(model, states, labels, rows)
  of_codes, of_replies = jnp.split(found, [blocks.shape[1]], axis=1)
  of_codes = of_codes.reshape(code_labels.shape)
  of_replies = of_replies.reshape(reply_labels.shape)
  logps = pair_dpo.PairLogps(
      t2i=of_codes.sum(-1).mean(2), mmu=of_replies.sum(-1)
  )
  counts = pair_dpo.PairLogps(
      t2i=pair_dpo.label_counts(code_labels).mean(2),
      mmu=pair_dpo.label_counts(reply_labels),
  )
  return logps, counts
