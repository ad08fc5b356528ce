"""A record's two pairs in one row: what win and lose share is there once.

  caption | win codes | lose codes | image, prompt | win reply | lose reply
     0          1                          2              3

Codes see the caption and themselves, replies the image, the prompt and their
own tokens before; neither sees its rival, nor the other pair. Positions are
those of rows of their own, so the numbers are those of four forward passes.
A pair with K masks has 2 K blocks of codes.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.pair_dpo import preferences
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import log_likelihood


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedRecord:
  """Both pairs of one input; of a batch with [B] in front.

  Attributes:
    caption: Rows [P] of `token_rows.t2i_prefix`, without pads that all have.
    skipped: int32[], these pads; positions count them.
    codes: int32[2, I], of the images drawn.
    image: Rows [E], the real image and the prompt, without pads.
    replies: int32[2, W], captions with their ends, right-padded.
    replied: bool[2, W], what of these is no pad.
  """

  caption: token_rows.Rows
  skipped: np.ndarray
  codes: np.ndarray
  image: token_rows.Rows
  replies: np.ndarray
  replied: np.ndarray


@dataclasses.dataclass(frozen=True)
class PackedLengths:
  """How long the texts of some records are at most.

  Attributes:
    caption: P, tokens before the codes.
    reply: W, tokens of a reply, its end included.
  """

  caption: int
  reply: int


def packed_lengths(
  vocab: vocabulary.Vocab,
  captions: token_rows.Texts,
  replies: token_rows.Texts,
  lengths: token_rows.Lengths,
) -> PackedLengths:
  """Returns what these texts want, at most what `lengths` allow."""
  rows = text_to_image.t2i_prefix(vocab, [[], *captions], lengths.max_text)
  # A reply without words is an end, and what is read is all but its end.
  longest = max(1, *map(len, [[], *replies])) + 1
  return PackedLengths(
    int(rows.valid.sum(-1).max()), min(longest, lengths.reply)
  )


def pack_record(
  vocab: vocabulary.Vocab,
  caption,
  drawn: np.ndarray,
  real: np.ndarray,
  prompt,
  replies,
  max_text: int,
  fit: PackedLengths,
  *,
  sot: bool = True,
) -> PackedRecord:
  """Returns the arrays of one record.

  Args:
    vocab: the vocabulary.
    caption: text ids, the condition of both drawn images.
    drawn: int[2, I], codes of win and lose.
    real: int[I], the codes that both replies are about.
    prompt: text ids.
    replies: two lists of text ids; what is longer than `packed_lengths` is cut.
    max_text: see `token_rows.t2i_prefix`.
    fit: of all records.
    sot: see `image_to_text.mmu_rows`.
  """
  rows = text_to_image.t2i_prefix(vocab, [caption], max_text)
  skipped = max_text + 1 - fit.caption
  size = real.shape[-1] + 3 + sot + len(prompt)
  image, _ = image_to_text.mmu_prefix(
    vocab, real[None], [prompt], size, sot=sot
  )
  texts = image_to_text.encode_replies(vocab, replies, fit.reply)
  return PackedRecord(
    caption=jax.tree.map(lambda a: a[0, skipped:], rows),
    skipped=np.array(skipped, np.int32),
    codes=drawn.astype(np.int32),
    image=jax.tree.map(lambda a: a[0], image),
    replies=texts,
    replied=texts != vocab.pad,
  )


def next_token_labels(codes: int, masks: int, fit: PackedLengths) -> int:
  """Returns how many tokens of a row may be labelled.

  Args:
    codes: I, of an image.
    masks: K, a pair.
    fit: of the records.
  """
  return 2 * masks * (codes + 2) + 2 * fit.reply


def pack_batch(
  vocab: vocabulary.Vocab,
  batch: PackedRecord,
  hidden: jax.Array | None,
  replies: bool = True,
):
  """Returns the packed rows of a batch.

  Args:
    vocab: the vocabulary.
    batch: of B records.
    hidden: bool[B, K, I], the codes to mask; both sides of a pair share them.
      None: a row without the pair of images.
    replies: whether the pair of replies is in the row.

  Returns:
    (tokens int32[B, T], positions int32[B, T], sees `attention_mask.Packed`, labels
    int32[B, 2, K, I + 2] of the codes' blocks, or None).
  """
  tokens, positions, segments, labels = [], [], [], None
  begins = batch.caption.tokens.shape[-1] + batch.skipped[:, None]
  if hidden is not None:
    block = functools.partial(_block, vocab)
    codes = batch.codes[:, :, None] + vocab.image_offset
    labels = block(jnp.where(hidden[:, None], codes, token_rows.UNSCORED))
    codes = block(jnp.where(hidden[:, None], vocab.mask, codes))
    copies, size = 2 * hidden.shape[1], codes.shape[-1]
    tokens += [batch.caption.tokens, codes.reshape(len(codes), -1)]
    positions += [
      batch.skipped[:, None] + jnp.arange(batch.caption.tokens.shape[-1]),
      begins + jnp.tile(jnp.arange(size), copies),
    ]
    first = jnp.argmax(batch.caption.valid, axis=-1)[:, None, None]
    segments += [
      (
        attention_mask.Segment(batch.caption.tokens.shape[-1]),
        _own(batch.caption),
        None,
      ),
      (
        attention_mask.Segment(size, copies, after=0, image=size),
        None,
        attention_mask.Interval(start=first),
      ),
    ]
  if replies:
    length = batch.image.tokens.shape[-1]
    # <|mmu|> <|soi|> codes <|eoi|>.
    image = 3 + batch.codes.shape[-1]
    # The last token of a reply predicts nothing.
    reads = batch.replies.shape[-1] - 1
    tokens += [
      batch.image.tokens,
      batch.replies[..., :-1].reshape(len(batch.replies), -1),
    ]
    positions += [
      jnp.broadcast_to(places, (len(batch.replies), places.size))
      for places in (
        jnp.arange(length),
        jnp.tile(length + jnp.arange(reads), 2),
      )
    ]
    place = len(segments)
    segments += [
      (attention_mask.Segment(length, image=image), _own(batch.image), None),
      (
        attention_mask.Segment(reads, 2, after=place),
        attention_mask.Interval(end=1 + jnp.arange(reads)),
        None,
      ),
    ]
  sees = attention_mask.Packed(*map(tuple, zip(*segments)))
  return (
    jnp.concatenate(tokens, axis=-1),
    jnp.concatenate(positions, axis=-1),
    sees,
    labels,
  )


def _block(vocab, codes):
  """<|soi|> codes <|eoi|>."""
  ends = [(0, 0)] * (codes.ndim - 1) + [(1, 1)]
  codes = jnp.pad(codes, ends).at[..., 0].set(vocab.soi)
  return codes.at[..., -1].set(vocab.eoi)


def _own(rows):
  """What the one copy of a segment sees of itself."""
  bounds = attention_mask.key_intervals(rows.ar, rows.valid)
  return jax.tree.map(lambda a: a[:, None], bounds)


def pair_logps(
  model,
  batch: PackedRecord,
  hidden: jax.Array | None,
  rows: int,
  replies: bool = True,
):
  """Scores both pairs of each record in one forward pass.

  Args:
    model: a ShowO.
    batch: of B records.
    hidden: bool[B, K, I], see `pack_batch`.
    rows: labels of a record whose logits are in memory at once.
    replies: see `pack_batch`.

  Returns:
    (PairLogps, the number of scored tokens in the same form; of the images
    the mean over the masks). What is not in the row is None.
  """
  tokens, positions, sees, code_labels = pack_batch(
    model.config.vocab, batch, hidden, replies
  )
  states, _ = model(tokens, sees, positions)
  parts = [s.size * s.count for s in sees.segments]
  parts = jnp.split(states, np.cumsum(parts)[:-1], axis=1)
  asked, labels = [], []
  if hidden is not None:
    asked.append(parts[1])
    labels.append(code_labels)
  if replies:
    count, _, width = states.shape
    # The first token of both replies follows the prompt.
    before = jnp.broadcast_to(parts[-2][:, None, -1:], (count, 2, 1, width))
    later = parts[-1].reshape(count, 2, -1, width)
    both = jnp.concatenate([before, later], axis=2)
    asked.append(both.reshape(count, -1, width))
    labels.append(jnp.where(batch.replied, batch.replies, token_rows.UNSCORED))
  flat = [each.reshape(len(each), -1) for each in labels]
  found = chunked_log_likelihood.chunked_logps(
    model, jnp.concatenate(asked, axis=1), jnp.concatenate(flat, axis=1), rows
  )
  found = jnp.split(found, np.cumsum([f.shape[1] for f in flat])[:-1], axis=1)
  found = [f.reshape(each.shape).sum(-1) for f, each in zip(found, labels)]
  counts = [log_likelihood.label_counts(each) for each in labels]

  def pairs(values):
    return preferences.PairLogps(
      t2i=None if hidden is None else values[0].mean(2),
      mmu=values[-1] if replies else None,
    )

  return pairs(found), pairs(counts)
