"""Token log-probabilities in packed rows, for pairs and for groups."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import chunked_log_likelihood


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenValues:
  """A value for each token in the images and replies in packed rows.

  The values are log-probabilities in nats, float32, or labels, int32. Tokens
  that are not scored have log-probability 0 and label
  `token_rows.UNSCORED`.

  Attributes:
    t2i: [B, K, J, I + 2], K images under J masks each: <|soi|>, codes,
      <|eoi|>. None: the rows have no images.
    mmu: [B, M, W], M replies. None: the rows have no replies.
  """

  t2i: jax.Array | None
  mmu: jax.Array | None


def token_logps(
  model,
  batch: packing.PackedRecord,
  masked: jax.Array | None,
  chunk_size: int,
  replies: bool = True,
  scored_images: jax.Array | None = None,
) -> tuple[TokenValues, TokenValues]:
  """Scores images and replies in packed rows in a single forward pass.

  The attention mask comes from `packing.pack_batch`.

  Args:
    model: a ShowO.
    batch: B records.
    masked: bool[B, J, I], see `packing.pack_batch`.
    chunk_size: labels of a record whose logits are in memory at once.
    replies: see `packing.pack_batch`.
    scored_images: bool[B, K], images to score; None: all.

  Returns:
    (log-probabilities, labels).
  """
  tokens, positions, mask, code_labels = packing.pack_batch(
    model.config.vocab, batch, masked, replies
  )
  if replies and batch.features is not None:
    embedded = model.embed_clip(
      tokens, batch.features, packing.image_begin(mask)
    )
    hidden, _ = model.from_embeddings(embedded, mask, positions)
  else:
    hidden, _ = model(tokens, mask, positions)
  sizes = [s.size * s.count for s in mask.segments]
  segment_states = jnp.split(hidden, np.cumsum(sizes)[:-1], axis=1)
  states, labels = [], []
  if masked is not None:
    if scored_images is not None:
      code_labels = jnp.where(
        scored_images[..., None, None], code_labels, token_rows.UNSCORED
      )
    states.append(segment_states[1])
    labels.append(code_labels)
  if replies:
    count, sides, _ = batch.replies.shape
    width = hidden.shape[-1]
    # The last token of the prompt predicts the first token of every reply.
    before = jnp.broadcast_to(
      segment_states[-2][:, None, -1:], (count, sides, 1, width)
    )
    later = segment_states[-1].reshape(count, sides, -1, width)
    of_replies = jnp.concatenate([before, later], axis=2)
    states.append(of_replies.reshape(count, -1, width))
    labels.append(jnp.where(batch.replied, batch.replies, token_rows.UNSCORED))
  flat = [a.reshape(len(a), -1) for a in labels]
  logps = chunked_log_likelihood.chunked_logps(
    model,
    jnp.concatenate(states, axis=1),
    jnp.concatenate(flat, axis=1),
    chunk_size,
  )
  logps = jnp.split(logps, np.cumsum([f.shape[1] for f in flat])[:-1], axis=1)
  logps = [f.reshape(a.shape) for f, a in zip(logps, labels)]

  def by_kind(values):
    return TokenValues(
      t2i=None if masked is None else values[0],
      mmu=values[-1] if replies else None,
    )

  return by_kind(logps), by_kind(labels)
