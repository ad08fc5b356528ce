"""Log-likelihoods of pairs in default training, in packed rows."""

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import log_likelihood


def pair_logps(
  model,
  batch: packing.PackedRecord,
  masked: jax.Array | None,
  chunk_size: int,
  replies: bool = True,
):
  """Scores both pairs of each record in a single forward pass.

  The loss calls it for the policy, and for the reference if it has not scored
  the pairs before the round. An image's log-likelihood is the sum over its
  masked codes, <|soi|> and <|eoi|>, averaged over the masks. A caption's
  log-likelihood is the sum over its tokens. The attention mask comes from
  `packing.pack_batch`.

  Args:
    model: a ShowO.
    batch: B records.
    masked: bool[B, J, I], see `packing.pack_batch`.
    chunk_size: labels of a record whose logits are in memory at once.
    replies: see `packing.pack_batch`.

  Returns:
    (log-likelihoods, scored token counts), `PairValues` each; None for a pair
    that is not in the row.
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
    states.append(segment_states[1])
    labels.append(code_labels)
  if replies:
    count, _, width = hidden.shape
    # The last token of the prompt predicts the first token of both replies.
    before = jnp.broadcast_to(
      segment_states[-2][:, None, -1:], (count, 2, 1, width)
    )
    later = segment_states[-1].reshape(count, 2, -1, width)
    both = jnp.concatenate([before, later], axis=2)
    states.append(both.reshape(count, -1, width))
    labels.append(jnp.where(batch.replied, batch.replies, token_rows.UNSCORED))
  flat = [a.reshape(len(a), -1) for a in labels]
  logps = chunked_log_likelihood.chunked_logps(
    model,
    jnp.concatenate(states, axis=1),
    jnp.concatenate(flat, axis=1),
    chunk_size,
  )
  logps = jnp.split(logps, np.cumsum([f.shape[1] for f in flat])[:-1], axis=1)
  logps = [f.reshape(a.shape).sum(-1) for f, a in zip(logps, labels)]
  counts = [log_likelihood.label_counts(a) for a in labels]

  def pairs(values):
    return pair_margins.PairValues(
      t2i=None if masked is None else values[0].mean(2),
      mmu=values[-1] if replies else None,
    )

  return pairs(logps), pairs(counts)
