"""A step on groups needs no more memory than a step on pairs."""

import dataclasses
import functools

import jax
import pytest
import tiny
import tiny_groups

from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.performance.pods import programs

SIZES = model_folder.Sizes(
  tiny.vocab(), tiny.sizes().decoder, None, tiny.LENGTHS, tiny.GRID
)


@functools.cache
def temporary(images, **changes):
  """Bytes in temporary arrays of a step on eight inputs with K images."""
  config = tiny_groups.config()
  objective = dataclasses.replace(config.objective, **changes)
  config = dataclasses.replace(config, objective=objective)
  model = jax.eval_shape(tiny.show_o, jax.random.key(0))
  program = programs.pair_dpo_step(
    model, SIZES, config, 'round', tiny.mesh(1, 1), (images, images)
  )
  compiled = program.call.lower(*program.arguments).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_memory_does_not_grow_with_the_group():
  """A step computes parts of a group in turn; all at once takes more."""
  small, large = (temporary(images, group_part=2) for images in (4, 16))
  assert large < 1.2 * small
  assert temporary(16, group_part=16) > 2 * large


def test_a_step_on_groups_takes_no_more_memory_than_one_on_pairs():
  pairs = temporary(2, method='pair_dpo', ratio='token')
  assert temporary(16, group_part=2) < 1.2 * pairs


@pytest.mark.parametrize('form', answer_config.FORMS)
def test_the_answer_term_stands_in_the_step(form):
  answers = answer_config.AnswerConfig(weight=1.0, form=form, questions=1)
  config = tiny_groups.config(answers=answers)
  model = jax.eval_shape(tiny.show_o, jax.random.key(0))
  program = programs.pair_dpo_step(
    model, SIZES, config, 'round', tiny.mesh(1, 1), (4, 4)
  )
  leaves, metrics = jax.eval_shape(program.call, *program.arguments)
  assert len(leaves) == len(program.arguments[0])
  assert metrics['answers/loss'].shape == ()


@pytest.mark.parametrize(
  'fixed, rank, models', [(False, 0, 2), (True, 0, 0), (False, 2, 2)]
)
def test_a_divergence_from_the_base_model_stands_in_the_step(
  fixed, rank, models
):
  """Adapters are added to one of the two models."""
  config = tiny_groups.config(kl_weight=1.0, fixed_masks=fixed)
  config = dataclasses.replace(
    config, lora=dataclasses.replace(config.lora, rank=rank)
  )
  model = jax.eval_shape(tiny.show_o, jax.random.key(0))
  program = programs.pair_dpo_step(
    model, SIZES, config, 'base', tiny.mesh(1, 1), (4, 4)
  )
  _, metrics = jax.eval_shape(program.call, *program.arguments)
  assert metrics['gen/kl'].shape == metrics['und/kl'].shape == ()
  frozen = program.arguments[1]
  assert len(jax.tree.leaves(frozen)) == models * len(jax.tree.leaves(model))
  assert len(program.parts.get('reference', ())) == models - bool(rank)
