"""The loss that training minimizes.

The records are homologous: an input has a caption pair given its image (mmu)
and an image pair given its caption (t2i). Winner and loser share the code mask
and the dropped condition; policy and reference see the same rows.
`hermesflow_jax.pair_dpo` lists the calls in a training step.
"""

import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import mask_schedules


def prepare_batch(
  batch,
  key,
  *,
  masks: int,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
):
  """Samples masks and computes record weights.

  It takes the whole batch before `adamw.accumulate` splits it, so that the
  losses add up over the parts.

  Args:
    batch: rows from `record_rows.make_transform`, stacked to [B, ...].
    key: random key for this step.
    masks: J, masks per pair.
    schedule: mask schedule.
    image_tokens: I, codes per image.

  Returns:
    The batch with `masked` bool[B, J, I] (unless it has fixed masks), and with
    `gen_share`, `und_share` and `both_share` float32[B], the weights for means
    over records, see `pair_margins.mean_weights`.
  """
  records = batch['gen_valid'].shape[0]
  batch = dict(batch)
  if 'masked' not in batch:
    keys = jax.random.split(key, (records, masks))
    sample = lambda k: mask_schedules.draw_mask(k, image_tokens, schedule)
    batch['masked'] = jax.vmap(jax.vmap(sample))(keys)
  return batch | {
    'gen_share': pair_margins.mean_weights(batch['gen_valid']),
    'und_share': pair_margins.mean_weights(batch['und_valid']),
    'both_share': pair_margins.mean_weights(
      batch['und_valid'] & batch['gen_valid']
    ),
  }


def loss(
  model,
  reference,
  batch,
  key=None,
  *,
  objective: objective_config.ObjectiveConfig,
  reply: int,
  compat: official_defects.OfficialDefects = official_defects.OfficialDefects(),
  chunk_size: int = 512,
):
  """Returns the loss, SFT terms included, and its metrics.

  Args:
    model: policy, a ShowO.
    reference: frozen ShowO; None if the batch holds all reference scores.
    batch: batch from `prepare_batch`, or a part of it.
    key: unused: the training step passes a key to every loss, but
      `prepare_batch` has sampled the masks already.
    objective: method and weights.
    reply: maximum length of a caption in tokens, its end included.
    compat: official defects to reproduce.
    chunk_size: labels of a record whose logits are in memory at once.

  Returns:
    (float32[], {name: float32[]}).
  """
  scores = _pair_scores(model, reference, batch, reply, compat, chunk_size)
  gen_nll = pair_margins.sft_loss(
    scores.policy.t2i, scores.counts.t2i, scores.gen_share
  )
  und_nll = pair_margins.sft_loss(
    scores.policy.mmu, scores.counts.mmu, scores.und_share
  )
  if compat.batch_sum:
    valid = batch['und_valid'], batch['gen_valid']
    scores = methods.PairScores(
      official_defects.sum_over_batch(scores.policy, *valid),
      official_defects.sum_over_batch(scores.reference, *valid),
      scores.counts,
    )
  total, metrics = preference_loss(scores, objective)
  metrics |= {
    # `training_loop` weighs the metrics of a step by these counts.
    'gen/pairs': batch['gen_valid'].sum().astype(jnp.float32),
    'und/pairs': batch['und_valid'].sum().astype(jnp.float32),
    'both/pairs': (batch['und_valid'] & batch['gen_valid'])
    .sum()
    .astype(jnp.float32),
    'gen/winner_nll': gen_nll,
    'und/winner_nll': und_nll,
    'gen/mask_ratio': (batch['gen_share'] * batch['masked'].mean((1, 2))).sum(),
  }
  if metrics.keys() & {'gen/loss', 'both/loss'}:
    total += objective.gen_sft_weight * gen_nll
  if metrics.keys() & {'und/loss', 'both/loss'}:
    total += objective.und_sft_weight * und_nll
  return total, metrics


def preference_loss(
  scores: methods.PairScores, objective: objective_config.ObjectiveConfig
):
  """Returns the weighted sum of the method's losses, and its metrics.

  No gradient flows into the log-likelihoods under the reference.

  Args:
    scores: log-likelihoods.
    objective: method, its parameters, and its loss weights.

  Returns:
    (float32[], {name: float32[]}): `pairs/loss` is the sum, `<kind>/loss` the
    method's loss by kind; see `pair_margins.pair_metrics` for the others.
  """
  reference = jax.lax.stop_gradient(scores.reference)
  losses = methods.METHODS[objective.method](
    dataclasses.replace(scores, reference=reference),
    methods.LossParams(objective.beta, objective.smoothing),
  )
  weights = {
    'gen': objective.gen_weight,
    'und': objective.und_weight,
    'both': 1.0,
  }
  # The order of the terms fixes the rounding of the sum.
  total = sum(w * losses[name] for name, w in weights.items() if name in losses)
  metrics = {f'{name}/loss': value for name, value in losses.items()}
  metrics['pairs/loss'] = total
  metrics |= pair_margins.pair_metrics(
    scores.policy, reference, scores.und_share, scores.gen_share
  )
  return total, metrics


def _pair_scores(model, reference, batch, reply, compat, chunk_size):
  """Scores a prepared batch under both models."""
  masked = batch['masked']
  if 'packed' in batch:
    policy, counts = pair_log_likelihood.pair_logps(
      model, batch['packed'], masked, chunk_size
    )
    frozen = _reference_logps(reference, batch, chunk_size)
  else:
    # Not in default training: `OfficialDefects.plain` asks for these rows.
    as_text = compat.score_images_as_text
    policy, counts = official_defects.unpacked_pair_logps(
      model, batch, masked, reply, as_text
    )
    frozen, _ = official_defects.unpacked_pair_logps(
      reference, batch, masked, reply, as_text
    )
  return methods.PairScores(
    policy,
    frozen,
    counts,
    batch['und_share'],
    batch['gen_share'],
    batch['both_share'],
  )


def _reference_logps(reference, batch, chunk_size):
  """Returns the reference's PairValues; scores only pairs not in the batch."""
  t2i, mmu = batch.get('reference_t2i'), batch.get('reference_mmu')
  if t2i is None or mmu is None:
    masked = batch['masked'] if t2i is None else None
    scored, _ = pair_log_likelihood.pair_logps(
      reference, batch['packed'], masked, chunk_size, replies=mmu is None
    )
    t2i, mmu = (
      a if b is None else b for a, b in ((scored.t2i, t2i), (scored.mmu, mmu))
    )
  return pair_margins.PairValues(t2i=t2i, mmu=mmu)
