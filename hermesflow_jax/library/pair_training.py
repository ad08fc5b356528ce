"""Scores preference pairs and takes gradient steps on them."""

from collections.abc import Sequence
import dataclasses
import functools

import jax
import numpy as np

from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import number_bounds
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.training import adamw
from hermesflow_jax.training import train_step

# Labels of a record whose logits are in memory at once.
_LABEL_ROWS = 512


def score_pairs(
  model: unified_model.UnifiedModel,
  records: Sequence[dict],
  *,
  masks: int = 1,
  schedule: str = 'cosine',
  seed: int = 0,
) -> pair_margins.PairValues:
  """Returns the log-likelihoods of winners and losers under a model.

  Args:
    model: the model.
    records: B records, see `preference_data.CuratedPairs`.
    masks: random masks per image pair; their log-likelihoods are averaged.
    schedule: mask schedule, see `mask_schedules.parse_schedule`.
    seed: random seed of the masks. Compare two models at the same seed.

  Returns:
    `t2i` float32[B, 2], images given the caption, and `mmu` float32[B, 2],
    captions given the image; (win, lose), in nats.

  Raises:
    ValueError: `records` is empty, `schedule` is unknown, or see
      `number_bounds.check_seed`.
  """
  seed = number_bounds.check_seed(seed)
  batch = _batch(model, records, drop_condition=0.0, seed=seed)
  scores = _scores(
    model.model,
    batch,
    jax.random.key(seed),
    masks,
    mask_schedules.parse_schedule(schedule),
    model.mesh,
  )
  return jax.tree.map(
    lambda values: np.asarray(processes.to_host(values))[: len(records)], scores
  )


@functools.partial(jax.jit, static_argnames=('masks', 'schedule', 'mesh'))
def _scores(model, batch, key, masks, schedule, mesh):
  batch = pair_loss.prepare_batch(
    batch,
    key,
    masks=masks,
    schedule=schedule,
    image_tokens=model.config.image_tokens,
  )
  with sharding.use_mesh(mesh):
    return pair_log_likelihood.pair_logps(
      model, batch['packed'], batch['masked'], _LABEL_ROWS
    )[0]


def train(
  model: unified_model.UnifiedModel,
  records: Sequence[dict],
  objective: objective_config.ObjectiveConfig,
  optim: adamw.AdamWConfig,
  *,
  reference=None,
  schedule: str = 'cosine',
  seed: int = 0,
) -> tuple[unified_model.UnifiedModel, list[dict[str, float]]]:
  """Takes `optim.steps` gradient steps; every step sees all records.

  The job `learn` does the same with batches, checkpoints and logs.

  Args:
    model: the policy; it stays as it is.
    records: B records, see `preference_data.CuratedPairs`.
    objective: the loss; `ObjectiveConfig()` has the settings for Show-o, and
      configs/pair_dpo.py those for the embedded world.
    optim: the optimizer and the number of steps.
    reference: the frozen ShowO; None: the policy before the first step.
    schedule: mask schedule, see `mask_schedules.parse_schedule`.
    seed: random seed of masks and dropped conditions.

  Returns:
    The trained model, and the metrics of each step.

  Raises:
    ValueError: `records` is empty, `schedule` is unknown, the method learns
      from groups, answers have a weight, or see `number_bounds.check_seed`.
  """
  seed = number_bounds.check_seed(seed)
  if objective.uses_groups:
    raise ValueError(
      'objective.method must be a method on pairs, got grpo; the jobs pair_dpo '
      'and learn train on groups'
    )
  if objective.answers.weight:
    raise ValueError(
      'objective.answers.weight must be 0 in train, whose records have no '
      f'questions, got {objective.answers.weight}; the job pair_dpo has them'
    )
  prepare = train_step.hashable_partial(
    pair_loss.prepare_batch,
    masks=objective.masks,
    schedule=mask_schedules.restrict(
      mask_schedules.parse_schedule(schedule), objective.mask_progress
    ),
    image_tokens=model.model.config.image_tokens,
  )
  loss = train_step.hashable_partial(
    pair_loss.loss, objective=objective, reply=model.lengths.reply
  )
  step = train_step.make_step(
    loss, optim, jax.random.key(seed), model.mesh, prepare
  )
  reference = model.model if reference is None else reference
  state = train_step.state_from_model(model.model, optim, model.mesh)
  metrics = []
  for number in range(optim.steps):
    batch = _batch(
      model, records, objective.drop_condition, seed=(seed, number)
    )
    state, values = step(state, reference, batch)
    metrics.append({name: float(value) for name, value in values.items()})
  return dataclasses.replace(model, model=state.model), metrics


def _batch(model, records, drop_condition, seed):
  """Returns the packed rows of all records on the mesh.

  Copies of the last record fill up the last device; they count nothing.
  """
  if not records:
    raise ValueError('records must not be empty; no input has a pair')
  transform = record_rows.make_transform(
    model.vocab,
    model.text,
    model.lengths,
    drop_condition,
    fit=record_rows.packed_lengths_of(
      model.vocab, model.text, model.lengths, records
    ),
    caption_prompt=model.caption_prompt,
  )
  rng = np.random.default_rng(seed)
  rows = [transform(record, rng) for record in records]
  copy = rows[-1] | {'gen_valid': np.array(False), 'und_valid': np.array(False)}
  rows += [copy] * (-len(rows) % model.mesh.shape['data'])
  return sharding.put_batch(batching.stack(rows), model.mesh)
