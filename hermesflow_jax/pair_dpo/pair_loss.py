"""Pair-DPO training: homologous records to rows, rows to the loss.

One record feeds both tasks: captions given the real image, images given the
true caption. Winner and loser share the mask of codes and the draw of the
condition; policy and reference see the same rows.
"""

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import preferences
from hermesflow_jax.sequences import mask_schedules


def prepare_batch(
  batch,
  key,
  *,
  masks: int,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
):
  """Draws what a step wants at random, and says what each record counts.

  It sees the whole batch, so that the losses of its parts add up.

  Args:
    batch: of `transform`, with a batch axis in front.
    key: of the step.
    masks: K, a pair.
    schedule: of the masks.
    image_tokens: I.

  Returns:
    The batch with `hidden` bool[B, K, I] unless it is there, and each
    record's shares in the means: `gen_share`, `und_share`, `both_share`
    float32[B].
  """
  records = batch['gen_valid'].shape[0]
  batch = dict(batch)
  if 'hidden' not in batch:
    keys = jax.random.split(key, (records, masks))
    draw = lambda k: mask_schedules.draw_mask(k, image_tokens, schedule)
    batch['hidden'] = jax.vmap(jax.vmap(draw))(keys)
  return batch | {
    'gen_share': preferences.mean_weights(batch['gen_valid']),
    'und_share': preferences.mean_weights(batch['und_valid']),
    'both_share': preferences.mean_weights(
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
  rows: int = 512,
):
  """Returns (loss of the method, metrics) of prepared homologous records.

  Args:
    model: the policy, a ShowO.
    reference: the frozen model; None where all its scores are in the batch.
    batch: of `prepare_batch`, or a part of it.
    key: not used.
    objective: the method and its weights.
    reply: the most tokens of a caption, its end included.
    compat: official defects to reproduce.
    rows: see `packing.pair_logps`.
  """
  hidden = batch['hidden']
  if 'packed' in batch:
    policy, counts = packing.pair_logps(model, batch['packed'], hidden, rows)
    frozen = _frozen(reference, batch, rows)
  else:
    as_text = compat.score_images_as_text
    policy, counts = official_defects.unpacked_pair_logps(
      model, batch, hidden, reply, as_text
    )
    frozen, _ = official_defects.unpacked_pair_logps(
      reference, batch, hidden, reply, as_text
    )
  valid = dict(und_valid=batch['und_share'], gen_valid=batch['gen_share'])
  gen_nll = preferences.sft_loss(policy.t2i, counts.t2i, valid['gen_valid'])
  und_nll = preferences.sft_loss(policy.mmu, counts.mmu, valid['und_valid'])
  if compat.batch_sum:
    kept = dict(und_valid=batch['und_valid'], gen_valid=batch['gen_valid'])
    policy = official_defects.sum_over_batch(policy, **kept)
    frozen = official_defects.sum_over_batch(frozen, **kept)
    valid = dict(und_valid=None, gen_valid=None)
  frozen = jax.lax.stop_gradient(frozen)
  both = None if compat.batch_sum else batch['both_share']
  losses = methods.METHODS[objective.method](
    methods.PairScores(
      policy, frozen, counts, valid['und_valid'], valid['gen_valid'], both
    ),
    methods.LossParams(objective.beta, objective.smoothing),
  )
  weights = {
    'gen': objective.gen_weight,
    'und': objective.und_weight,
    'both': 1.0,
  }
  # In this order: sums of floats have one.
  total = sum(w * losses[name] for name, w in weights.items() if name in losses)
  metrics = {f'{name}/loss': value for name, value in losses.items()}
  metrics['pairs/loss'] = total
  metrics |= preferences.pair_metrics(policy, frozen, **valid)
  metrics |= {
    # Steps count by these in the means of an interval.
    'gen/pairs': batch['gen_valid'].sum().astype(jnp.float32),
    'und/pairs': batch['und_valid'].sum().astype(jnp.float32),
    'both/pairs': (batch['und_valid'] & batch['gen_valid'])
    .sum()
    .astype(jnp.float32),
    'gen/winner_nll': gen_nll,
    'und/winner_nll': und_nll,
    'gen/mask_ratio': (batch['gen_share'] * hidden.mean((1, 2))).sum(),
  }
  if losses.keys() & {'gen', 'both'}:
    total += objective.gen_sft_weight * gen_nll
  if losses.keys() & {'und', 'both'}:
    total += objective.und_sft_weight * und_nll
  return total, metrics


def _frozen(reference, batch, rows):
  """The reference's PairLogps; what was scored before is not again."""
  t2i, mmu = batch.get('reference_t2i'), batch.get('reference_mmu')
  if t2i is None or mmu is None:
    hidden = batch['hidden'] if t2i is None else None
    found, _ = packing.pair_logps(
      reference, batch['packed'], hidden, rows, replies=mmu is None
    )
    t2i, mmu = (
      a if b is None else b for a, b in ((found.t2i, t2i), (found.mmu, mmu))
    )
  return preferences.PairLogps(t2i=t2i, mmu=mmu)
