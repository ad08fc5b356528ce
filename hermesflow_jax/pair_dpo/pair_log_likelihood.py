"""Log-likelihoods of pairs in default training, in packed rows."""

import jax

from hermesflow_jax.pair_dpo import packed_log_likelihood
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_margins
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
  log-likelihood is the sum over its tokens.

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
  logps, labels = packed_log_likelihood.token_logps(
    model, batch, masked, chunk_size, replies
  )
  sums = jax.tree.map(lambda a: a.sum(-1), logps)
  return _pairs(sums), _pairs(jax.tree.map(log_likelihood.label_counts, labels))


def _pairs(
  values: packed_log_likelihood.TokenValues,
) -> pair_margins.PairValues:
  """Averages the values of images, [B, 2, J], over the masks."""
  t2i = None if values.t2i is None else values.t2i.mean(2)
  return pair_margins.PairValues(t2i=t2i, mmu=values.mmu)
