"""Packs the images and captions of a record into a single row.

  caption | win codes | lose codes | image, prompt | win reply | lose reply
     0          1                          2              3

Winner and loser share the caption, the image and the prompt, so the row
has them once. Codes see the caption and their own block. A reply sees the
image, the prompt and its own earlier tokens. No side sees its rival or the
other pair. Positions are as in separate rows, so four forward passes would
give the same log-likelihoods. A pair with J masks has 2 J blocks of codes.
Groups of `group_rows` have K images and M replies in the place of two.

Default training scores these rows, see `pair_log_likelihood`. `pack_batch`
restates the omni-attention rule in `sequences/attention_mask.py` for packed
rows, as an `attention_mask.Packed`; `models/attention.py` applies it.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import clip_rows
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedRecord:
  """Arrays of K images and M replies, 2 each for pairs; a batch has an axis B.

  Attributes:
    caption: Rows [P] from `text_to_image.t2i_prefix`, cut to the longest
      caption of the run.
    skipped: int32[], left pads that are cut off; positions count them.
    codes: int32[K, I], codes of the images; of pairs (win, lose).
    image: Rows [E], the input's image and the prompt, without pads. With
      features in the order of `clip_rows.features_first`.
    replies: int32[M, W], captions with their ends, right-padded; of pairs (win,
      lose).
    replied: bool[M, W], False on pads in `replies`.
    features: float[S, C], CLIP features of the input's image; None for a model
      that reads its codes, or before `real_images.add_features`.
    start: position of the first feature.
  """

  caption: token_rows.Rows
  skipped: np.ndarray
  codes: np.ndarray
  image: token_rows.Rows
  replies: np.ndarray
  replied: np.ndarray
  features: np.ndarray | None = None
  start: int = dataclasses.field(default=0, metadata={'static': True})


@dataclasses.dataclass(frozen=True)
class PackedLengths:
  """Lengths of texts in packed rows.

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
  """Returns the longest text lengths, within `lengths`.

  Args:
    vocab: vocabulary.
    captions: text ids of the conditions.
    replies: text ids of the replies.
    lengths: upper bounds.
  """
  rows = text_to_image.t2i_prefix(vocab, [[], *captions], lengths.max_text)
  # At least one word: the model reads all tokens of a reply but its end, and a
  # reply without words consists of its end alone.
  longest = max(1, *map(len, [[], *replies])) + 1
  return PackedLengths(
    int(rows.valid.sum(-1).max()), min(longest, lengths.reply)
  )


def pack_record(
  vocab: vocabulary.Vocab,
  caption,
  images: np.ndarray,
  real: np.ndarray,
  prompt,
  replies,
  max_text: int,
  fit: PackedLengths,
  *,
  sot: bool = True,
  system=None,
  feature_count: int = 0,
  features: np.ndarray | None = None,
) -> PackedRecord:
  """Packs a record.

  Args:
    vocab: vocabulary.
    caption: text ids, the condition for both generated images.
    images: int[K, I], codes of the images, e.g. of winner and loser.
    real: int[I], codes of the image that both replies describe.
    prompt: text ids.
    replies: M lists of text ids, e.g. of winner and loser; `fit.reply` cuts
      longer replies.
    max_text: see `text_to_image.t2i_prefix`.
    fit: text lengths of all records.
    sot: see `image_to_text.mmu_rows`.
    system: ids of the system prompt of the CLIP variant.
    feature_count: S, features that replace `real` in the CLIP variant, or 0.
    features: float[S, C]; None without these, or to add them later.
  """
  rows = text_to_image.t2i_prefix(vocab, [caption], max_text)
  skipped = max_text + 1 - fit.caption
  start = 0
  if features is not None:
    feature_count = len(features)
  if not feature_count:
    size = real.shape[-1] + 3 + sot + len(prompt)
    image, _ = image_to_text.mmu_prefix(
      vocab, real[None], [prompt], size, sot=sot
    )
  else:
    start = len(system) + 2
    image = clip_rows.features_first(vocab, system, feature_count, prompt)
  texts = image_to_text.encode_replies(vocab, replies, fit.reply)
  return PackedRecord(
    caption=jax.tree.map(lambda a: a[0, skipped:], rows),
    skipped=np.array(skipped, np.int32),
    codes=images.astype(np.int32),
    image=jax.tree.map(lambda a: a[0], image),
    replies=texts,
    replied=texts != vocab.pad,
    features=features,
    start=start,
  )


def image_begin(mask: attention_mask.Packed) -> int:
  """Returns where the input's image begins in a packed row with replies.

  Args:
    mask: from `pack_batch`.
  """
  return sum(s.size * s.count for s in mask.segments[:-2])


def max_labels(
  codes: int, masks: int, fit: PackedLengths, images: int = 2, replies: int = 2
) -> int:
  """Returns the maximum number of labels in a packed row.

  Args:
    codes: I, codes per image.
    masks: J, masks per image.
    fit: text lengths of all records.
    images: K, images in the row; 2 for pairs.
    replies: M, replies in the row; 2 for pairs.
  """
  return images * masks * (codes + 2) + replies * fit.reply


def pack_batch(
  vocab: vocabulary.Vocab,
  batch: PackedRecord,
  masked: jax.Array | None,
  replies: bool = True,
):
  """Returns the packed rows of a batch.

  Args:
    vocab: vocabulary.
    batch: B records.
    masked: bool[B, J, I], codes to mask; all images share them. None: the row
      has no images.
    replies: whether the row has the replies.

  Returns:
    (tokens int32[B, T], positions int32[B, T], attention mask
    `attention_mask.Packed`, labels int32[B, K, J, I + 2] for the code
    blocks, or None).
  """
  tokens, positions, segments, labels = [], [], [], None
  begins = batch.caption.tokens.shape[-1] + batch.skipped[:, None]
  if masked is not None:
    block = functools.partial(_image_block, vocab)
    codes = batch.codes[:, :, None] + vocab.image_offset
    labels = block(jnp.where(masked[:, None], codes, token_rows.UNSCORED))
    codes = block(jnp.where(masked[:, None], vocab.mask, codes))
    copies, size = codes.shape[1] * codes.shape[2], codes.shape[-1]
    tokens += [batch.caption.tokens, codes.reshape(len(codes), -1)]
    positions += [
      batch.skipped[:, None] + jnp.arange(batch.caption.tokens.shape[-1]),
      begins + jnp.tile(jnp.arange(size), copies),
    ]
    first = jnp.argmax(batch.caption.valid, axis=-1)[:, None, None]
    segments += [
      (
        attention_mask.Segment(batch.caption.tokens.shape[-1]),
        _own_keys(batch.caption),
        None,
      ),
      (
        attention_mask.Segment(size, copies, prefix=0, image=size),
        None,
        attention_mask.Interval(start=first),
      ),
    ]
  if replies:
    length = batch.image.tokens.shape[-1]
    # <|mmu|> <|soi|> codes <|eoi|>.
    image, own = 3 + batch.codes.shape[-1], None
    places = jnp.arange(length)
    if batch.features is None:
      own = _own_keys(batch.image)
    else:
      image, count = 0, batch.features.shape[-2]
      places, ends = clip_rows.features_first_layout(length, count, batch.start)
      own = attention_mask.Interval(end=ends)
    # The last token of a reply predicts nothing.
    sides, reads = batch.replies.shape[1], batch.replies.shape[2] - 1
    tokens += [
      batch.image.tokens,
      batch.replies[..., :-1].reshape(len(batch.replies), -1),
    ]
    positions += [
      jnp.broadcast_to(places, (len(batch.replies), places.size))
      for places in (places, jnp.tile(length + jnp.arange(reads), sides))
    ]
    place = len(segments)
    segments += [
      (attention_mask.Segment(length, image=image), own, None),
      (
        attention_mask.Segment(reads, sides, prefix=place),
        attention_mask.Interval(end=1 + jnp.arange(reads)),
        None,
      ),
    ]
  mask = attention_mask.Packed(*map(tuple, zip(*segments)))
  return (
    jnp.concatenate(tokens, axis=-1),
    jnp.concatenate(positions, axis=-1),
    mask,
    labels,
  )


def _image_block(vocab, codes):
  """Returns <|soi|> codes <|eoi|>, int32[..., I + 2]."""
  ends = [(0, 0)] * (codes.ndim - 1) + [(1, 1)]
  codes = jnp.pad(codes, ends).at[..., 0].set(vocab.soi)
  return codes.at[..., -1].set(vocab.eoi)


def _own_keys(rows):
  """Returns the keys that a segment without copies sees in itself."""
  bounds = attention_mask.key_intervals(rows.ar, rows.valid)
  return jax.tree.map(lambda a: a[:, None], bounds)
