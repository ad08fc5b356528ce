"""Groups of candidates and the loss of GRPO for tests of the tiny model."""

import dataclasses
import functools

import jax
import numpy as np
import small_unified
import tiny

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.models import lora
from hermesflow_jax.pair_dpo import candidate_groups
from hermesflow_jax.pair_dpo import group_data
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.runtime import batching
from hermesflow_jax.training import adamw

OBJECTIVE = objective_config.ObjectiveConfig(
  method='grpo',
  und_weight=0.5,
  masks=2,
  ratio='sum',
  group_part=4,
  drop_condition=0.0,
)
WRITTEN = ['one red circle', 'green star', 'one red circle', 'blue']


def config(**changes) -> learning_config.LearningConfig:
  """Returns settings of steps on eight groups, with changes of the objective."""
  return learning_config.LearningConfig(
    objective=dataclasses.replace(OBJECTIVE, **changes),
    compat=official_defects.OfficialDefects(),
    caption_prompt='give a caption for this image .',
    mask_schedule='cosine',
    # A large epsilon: tiny gradients do not turn into full steps by their sign.
    optim=adamw.AdamWConfig(lr=1e-2, steps=4, warmup=0.0, eps=1e-3),
    lora=lora.Lora(0, 16.0, ('q_proj',)),
    epochs=0.0,
    batch=8,
    label_rows=64,
    log_every=1,
    save_every=0,
    sample_every=0,
    profile_steps=(0, 0),
    seed=3,
  )


def candidates(count=8, images=4, seed=0) -> candidate_generation.Candidates:
  """Returns random images and some captions, with random rewards."""
  rng = np.random.default_rng(seed)
  return candidate_generation.Candidates(
    captions=[WRITTEN[n % 2 :] + WRITTEN[: n % 2] for n in range(count)],
    caption_scores=np.round(rng.random((count, len(WRITTEN))), 2),
    codes=rng.integers(0, 16, (count, images, tiny.IMAGE_TOKENS)),
    image_scores=np.round(rng.random((count, images)), 2),
    answers=[],
  )


def records(count=8, objective=OBJECTIVE, **changes) -> list[dict]:
  """Returns groups of the candidates, with changes of their fields."""
  rng = np.random.default_rng(1)
  groups = candidate_groups.join_groups(
    [f'g{n}' for n in range(count)],
    [small_unified.CAPTIONS[n] for n in range(count)],
    rng.integers(0, 16, (count, tiny.IMAGE_TOKENS)),
    dataclasses.replace(candidates(count), **changes),
    objective,
  )
  return list(groups)  # Tests change the records.


@functools.cache
def models():
  """(policy, the model that started the round)."""
  return tuple(tiny.show_o(jax.random.key(n)) for n in (0, 1))


def data(
  old, groups, shape=(1, 1), reference=None, **changes
) -> group_data.GroupData:
  """Returns groups that frozen models have scored before a round.

  Args:
    old: model that starts the round.
    groups: records.
    shape: mesh shape.
    reference: model from which the divergence is measured; None for `old`.
    **changes: changes of the objective.
  """
  unified = small_unified.unified_on(old, shape)
  settings = config(**changes)
  return group_data.of_records(
    unified, settings, groups, None
  ).with_reference_scores(reference or unified.model, 1)


def batch_of(groups: group_data.GroupData):
  """Returns the stacked rows of all records."""
  make_row, rng = groups.make_transform(0.0), np.random.default_rng(0)
  return batching.stack([make_row(r, rng) for r in groups.records])


KEY = jax.random.key(5)


@functools.cache
def _program(loss, prepare):
  def run(model, frozen, batch, key):
    return loss(model, frozen, prepare(batch, key))

  return jax.jit(jax.value_and_grad(run, has_aux=True))


def loss_and_gradient(policy, groups: group_data.GroupData):
  """Returns ((loss, metrics), gradient) of all records in one part."""
  program = _program(*groups.functions())
  return program(policy, groups.frozen_models, batch_of(groups), KEY)
