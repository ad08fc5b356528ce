"""GRPO's loss on groups with images and captions.

The ratios compare the policy with the model that starts the round, which drew
the candidates, at the same masks. A group's images share their masks. The
divergence is from that model, too, or from the base model.
"""

import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import group_objective
from hermesflow_jax.pair_dpo import group_rows
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import packed_log_likelihood
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import token_rows

# Prefixes of metrics.
_KINDS = {group_rows.IMAGES: 'gen', group_rows.CAPTIONS: 'und'}


def prepare_batch(
  batch,
  key,
  *,
  layout: group_rows.GroupLayout,
  masks: int,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
  scaled: bool = True,
):
  """Samples masks, computes advantages, and divides groups among rows.

  It takes the whole batch before a step splits it, so that the losses add up
  over the parts.

  Args:
    batch: rows from `group_rows.make_transform`, stacked to [B, ...].
    key: random key for this step.
    layout: R rows per group.
    masks: J, masks per group.
    schedule: mask schedule.
    image_tokens: I, codes per image.
    scaled: whether advantages are divided by the rewards' deviation.

  Returns:
    Rows [B * R, ...]: `packed`, `masked` bool[B * R, J, I], and for `images`
    and `captions` `advantages`, `weights` and `rewards`, float32[B * R, k], and
    `old` and `base`, if the record has them; `gen_groups` and `und_groups`
    float32[B * R] add up to the group count.
  """
  batch, groups = dict(batch), {}
  size = len(jax.tree.leaves(batch)[0])
  if group_rows.IMAGES in batch and 'masked' not in batch:
    keys = jax.random.split(key, (size, masks))
    sample = lambda k: mask_schedules.draw_mask(k, image_tokens, schedule)
    batch['masked'] = jax.vmap(jax.vmap(sample))(keys)
  for kind, prefix in _KINDS.items():
    if kind in batch:
      batch[kind], valid = _weighted(dict(batch[kind]), scaled)
      first = jnp.arange(layout.rows) == 0
      groups[f'{prefix}_groups'] = (valid[:, None] & first).astype(jnp.float32)
  rows = group_rows.split_rows(batch, layout)
  return rows | {name: a.reshape(-1) for name, a in groups.items()}


def _weighted(group, scaled):
  """Returns a kind's candidates with advantages and weights, and `valid`."""
  valid, counts = group.pop('valid'), group.pop('counts')
  total = jnp.maximum(counts.sum(-1, keepdims=True), 1.0)
  share = pair_margins.mean_weights(valid)
  group['weights'] = share[:, None] * counts / total
  group['advantages'] = group_objective.group_advantages(
    group['rewards'], counts, scaled
  )
  return group, valid


def loss(
  model,
  reference,
  batch,
  key=None,
  *,
  objective: objective_config.ObjectiveConfig,
  chunk_size: int = 512,
):
  """Returns the loss and its metrics.

  Args:
    model: policy, a ShowO.
    reference: frozen ShowOs by name in `group_rows.FROZEN`; None if the batch
      holds all their scores.
    batch: rows from `prepare_batch`, all or a part.
    key: unused, see `pair_loss.loss`.
    objective: clipping, ratio and weights.
    chunk_size: labels of a row whose logits are in memory at once.

  Returns:
    (float32[], {name: float32[]}): `groups/loss` is the weighted sum. With the
    prefixes `gen/` (images) and `und/` (captions) also `loss`, `groups` (their
    number), `reward` (mean) and the metrics from `group_objective.policy_loss`.
  """
  images, captions = (batch.get(kind) for kind in _KINDS)
  packed, masked = batch['packed'], batch.get('masked')
  scored_images = None if images is None else images['weights'] > 0
  if captions is not None:
    exists = captions['weights'][..., None] > 0
    packed = dataclasses.replace(packed, replied=packed.replied & exists)
  policy, labels = packed_log_likelihood.token_logps(
    model, packed, masked, chunk_size, captions is not None, scored_images
  )
  total, metrics = 0.0, {}
  if images is not None:
    frozen = {
      name: images[name] for name in group_rows.FROZEN if name in images
    }
    for name, frozen_model in (reference or {}).items():
      frozen[name] = packed_log_likelihood.token_logps(
        frozen_model, packed, masked, chunk_size, False, scored_images
      )[0].t2i
    value, values = _kind_loss(
      policy.t2i, frozen, labels.t2i, images, objective, objective.ratio
    )
    total += objective.gen_weight * value
    metrics |= {f'gen/{name}': v for name, v in values.items()}
    metrics['gen/groups'] = batch['gen_groups'].sum()
    # A row's images share its masks and add up to its weight.
    metrics['gen/mask_ratio'] = (
      images['weights'].sum(-1) * masked.mean((1, 2))
    ).sum()
  if captions is not None:
    # As if under a single mask.
    value, values = _kind_loss(
      policy.mmu[:, :, None],
      {n: captions[n][:, :, None] for n in group_rows.FROZEN if n in captions},
      labels.mmu[:, :, None],
      captions,
      objective,
      'token',
    )
    total += objective.und_weight * value
    metrics |= {f'und/{name}': v for name, v in values.items()}
    metrics['und/groups'] = batch['und_groups'].sum()
  metrics['groups/loss'] = total
  return total, metrics


def _kind_loss(policy, frozen, labels, group, objective, ratio):
  """Returns a kind's loss and metrics.

  Args:
    policy: float32[B, k, J, T], log-probabilities of tokens.
    frozen: the same under frozen models, by name in `group_rows.FROZEN`.
    labels: int32[B, k, J, T].
    group: rows of this kind.
    objective: clipping and weights.
    ratio: see `ObjectiveConfig`.
  """
  scored = labels != token_rows.UNSCORED
  log_ratios = {
    name: jnp.where(scored, policy - jax.lax.stop_gradient(logps), 0.0)
    for name, logps in frozen.items()
  }
  value, metrics = group_objective.policy_loss(
    log_ratios['old'],
    scored,
    group['advantages'],
    group['weights'],
    ratio=ratio,
    clip=objective.clip,
    kl_weight=objective.kl_weight,
    reference_log_ratios=log_ratios.get('base'),
  )
  reward = (group['weights'] * group['rewards']).sum()
  return value, metrics | {'loss': value, 'reward': reward}
