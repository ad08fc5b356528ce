"""The loss of GRPO on a model: which candidates it depends on, and how."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny
import tiny_groups
import tiny_pairs

from hermesflow_jax.models import lora
from hermesflow_jax.pair_dpo import group_rows
from hermesflow_jax.pair_dpo import pair_log_likelihood
from hermesflow_jax.runtime import sharding
from hermesflow_jax.training import train_step
from hermesflow_jax.training import trainable


@pytest.fixture(scope='module')
def models():
  return tiny_groups.models()


def run(models, groups, **changes):
  policy, old = models
  return tiny_groups.loss_and_gradient(
    policy, tiny_groups.data(old, groups, **changes)
  )


def assert_same(actual, expected, atol=1e-4):
  """Compares losses, metrics and gradients up to rounding.

  A ratio counts as clipped by a sign, which rounding of an advantage near 0
  turns. Some gradients are sums of terms up to 60 and end near 0.
  """
  for (_, metrics), _ in (actual, expected):
    for kind in ('gen', 'und'):
      metrics.pop(f'{kind}/clipped', None)
  tiny_pairs.assert_close(actual, expected, atol)


def test_at_the_start_of_a_round_ratios_are_1_and_none_is_clipped(models):
  old = models[1]
  (_, metrics), gradient = run((old, old), tiny_groups.records())
  for kind in ('gen', 'und'):
    # Both models round the same sums in programs of their own.
    np.testing.assert_allclose(metrics[f'{kind}/ratio'], 1.0, rtol=1e-5)
    assert metrics[f'{kind}/clipped'] == 0
    np.testing.assert_allclose(metrics[f'{kind}/kl'], 0.0, atol=1e-5)
    assert metrics[f'{kind}/groups'] == 8
  leaves, _ = jax.tree_util.tree_flatten_with_path(gradient)
  still = [jax.tree_util.keystr(path) for path, g in leaves if not g.any()]
  assert still == []


def flat():
  candidates = tiny_groups.candidates()
  return dict(
    image_scores=np.full_like(candidates.image_scores, 0.1),
    caption_scores=np.full_like(candidates.caption_scores, 0.1),
  )


def test_flat_groups_have_no_gradient(models):
  groups = tiny_groups.records(**flat())
  assert {r['image_dropped'] for r in groups} == {'no difference'}
  (value, metrics), gradient = run(models, groups)
  assert value == metrics['gen/groups'] == metrics['und/groups'] == 0
  assert not any(g.any() for g in jax.tree.leaves(gradient))


def test_a_flat_group_has_no_influence(models):
  """Also not by its number: the mean is over groups with a difference."""
  results = []
  for seed in (0, 1):
    groups, others = tiny_groups.records(), tiny_groups.records(**flat())
    others[2]['images'] = (others[2]['images'] + seed) % 16
    groups[2] = others[2]
    results.append(run(models, groups))
  jax.tree.map(np.testing.assert_array_equal, *results)
  assert results[0][0][1]['gen/groups'] == 7


def test_the_order_in_a_group_does_not_matter(models):
  groups, order = tiny_groups.records(), np.array([2, 0, 3, 1])
  mixed = [dict(record) for record in groups]
  for record in mixed:
    for name in ('images', 'image_rewards'):
      record[name] = record[name][order]
    for name in ('caption_rewards', 'caption_counts'):
      record[name] = record[name][::-1]
    record['captions'] = record['captions'][::-1]
  assert_same(run(models, mixed), run(models, groups))


def test_two_images_have_the_gradient_of_their_likelihoods(models):
  """Rewards 1 and 0, no clipping, at the start: advantages are 1 and -1."""
  old, changes = models[1], dict(und_weight=0.0, clip=1e9, fixed_masks=True)
  groups = tiny_groups.records(
    objective=dataclasses.replace(tiny_groups.OBJECTIVE, **changes)
  )
  for record in groups:
    record['images'] = record['images'][:2]
    record['image_rewards'] = np.array([1.0, 0.0], np.float32)
  data = tiny_groups.data(old, groups, **changes)
  (_, actual) = tiny_groups.loss_and_gradient(old, data)
  rows = [
    tiny_pairs.row_of(
      record
      | {
        'codes_win': record['images'][0],
        'codes_lose': record['images'][1],
        'caption_win': '',
        'caption_lose': '',
        'caption_dropped': 'x',
        'image_dropped': '',
      }
    )
    for record in groups
  ]
  masked = np.stack([record['masked'] for record in data.records])
  packed = jax.tree.map(lambda *a: np.stack(a), *[r['packed'] for r in rows])

  def difference(model):
    logps, _ = pair_log_likelihood.pair_logps(model, packed, masked, 64)
    return -(logps.t2i[:, 0] - logps.t2i[:, 1]).mean() / 2

  expected = jax.jit(jax.grad(difference))(old)
  tiny_pairs.assert_close(actual, expected)


def test_scores_of_fixed_masks_give_the_loss_of_scores_in_the_step(models):
  groups = tiny_groups.records()
  fixed = tiny_groups.data(models[1], groups, fixed_masks=True)
  fresh = tiny_groups.data(models[1], groups)
  actual = tiny_groups.loss_and_gradient(models[0], fixed)
  batch = tiny_groups.batch_of(fixed)
  batch['images'] = {k: v for k, v in batch['images'].items() if k != 'old'}
  loss, prepare = fresh.functions()
  whole = lambda *models: loss(*models, prepare(batch, tiny_groups.KEY))
  expected = jax.jit(whole)(models[0], fresh.frozen_models)
  assert_same(actual, (expected, actual[1]))


def divergences(models, base, **changes):
  """Loss and metrics with the divergence from a base model."""
  policy, old = models
  data = tiny_groups.data(
    old, tiny_groups.records(), reference=base, kl_weight=3.0, **changes
  )
  return tiny_groups.loss_and_gradient(policy, data)


def test_the_divergence_is_measured_from_the_reference(models):
  """The ratios are not: they belong to the model that drew the candidates."""
  groups = tiny_groups.records()
  (expected, metrics), gradient = run(models, groups)
  (actual, others), same = divergences(models, models[0])
  # From the policy itself there is none, and no gradient of any.
  for kind in ('gen', 'und'):
    np.testing.assert_allclose(others[f'{kind}/kl'], 0.0, atol=1e-9)
    assert metrics[f'{kind}/kl'] > 1e-3
    others[f'{kind}/kl'] = metrics[f'{kind}/kl']
  assert_same(((actual, others), same), ((expected, metrics), gradient))
  base = tiny.show_o(jax.random.key(2))
  (actual, others), _ = divergences(models, base)
  # The other model measures the same from it, as the start of a round.
  (_, from_base), _ = run((models[0], base), groups, kl_weight=3.0)
  for kind, weight in (('gen', 1.0), ('und', 0.5)):
    kl = others[f'{kind}/kl']
    np.testing.assert_allclose(kl, from_base[f'{kind}/kl'], rtol=1e-4)
    np.testing.assert_allclose(
      others[f'{kind}/loss'], metrics[f'{kind}/loss'] + 3.0 * kl, rtol=1e-4
    )
    expected += weight * 3.0 * kl
  np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_scores_of_fixed_masks_have_the_divergence_of_the_reference(models):
  base = tiny.show_o(jax.random.key(2))
  common = dict(reference=base, kl_weight=3.0)
  fixed, fresh = (
    tiny_groups.data(
      models[1], tiny_groups.records(), fixed_masks=fixed, **common
    )
    for fixed in (True, False)
  )
  assert fixed.frozen_models is None
  actual = tiny_groups.loss_and_gradient(models[0], fixed)
  batch = tiny_groups.batch_of(fixed)
  batch['images'] = {
    name: values
    for name, values in batch['images'].items()
    if name not in group_rows.FROZEN
  }
  loss, prepare = fresh.functions()
  whole = lambda *models: loss(*models, prepare(batch, tiny_groups.KEY))
  expected = jax.jit(whole)(models[0], fresh.frozen_models)
  assert_same(actual, (expected, actual[1]))


@pytest.mark.parametrize('kind', ['gen', 'und'])
def test_a_kind_without_weight_is_not_in_the_program(models, kind):
  changes = {f'{kind}_weight': 0.0}
  objective = dataclasses.replace(tiny_groups.OBJECTIVE, **changes)
  groups = tiny_groups.records(objective=objective)
  (value, metrics), _ = run(models, groups, **changes)
  assert not any(name.startswith(kind) for name in metrics)
  (_, both), _ = run(models, tiny_groups.records())
  other, weight = ('und', 0.5) if kind == 'gen' else ('gen', 1.0)
  np.testing.assert_allclose(value, weight * both[f'{other}/loss'], rtol=1e-4)


def stepped(models, shape, accumulate, part):
  """Metrics and model after a step with a divergence from a third model."""
  policy, old = models
  data = tiny_groups.data(
    old,
    tiny_groups.records(),
    shape,
    reference=tiny.show_o(jax.random.key(2)),
    kl_weight=1.0,
    group_part=part,
  )
  optim = dataclasses.replace(data.config.optim, accumulate=accumulate)
  mesh, (loss, prepare) = tiny.mesh(*shape), data.functions()
  step = train_step.make_step(
    loss, optim, tiny_groups.KEY, mesh, prepare, data.parts
  )
  place = lambda model: jax.device_put(model, sharding.shardings(model, mesh))
  frozen = {name: place(model) for name, model in data.frozen_models.items()}
  batch = sharding.put_batch(tiny_groups.batch_of(data), mesh)
  state, metrics = step(
    train_step.state_from_model(place(policy), optim, mesh), frozen, batch
  )
  return jax.tree.map(np.asarray, (metrics, state.model))


@pytest.fixture(scope='module')
def undivided(models):
  return stepped(models, (1, 1), 1, 4)


@pytest.mark.parametrize(
  'shape, accumulate, part', [((1, 1), 1, 1), ((1, 1), 4, 2), ((4, 2), 2, 3)]
)
def test_a_step_is_the_same_however_it_is_divided(
  models, undivided, shape, accumulate, part
):
  """Over devices, parts of the batch, and rows of a group."""
  (metrics, model) = stepped(models, shape, accumulate, part)
  (expected, other) = undivided
  assert expected['gen/groups'] == 8
  assert_same(((0.0, metrics), 0.0), ((0.0, expected), 0.0))
  tiny_pairs.assert_close(model, other, 1e-4)


def test_adapters_that_add_nothing_give_the_loss_of_the_model(models):
  """The start of the round is the model that they are added to."""
  old, base = models[1], tiny.show_o(jax.random.key(2))
  data = tiny_groups.data(
    old, tiny_groups.records(), reference=base, kl_weight=3.0
  )
  expected, _ = tiny_groups.loss_and_gradient(old, data)
  config = lora.Lora(2, 4.0, ('q_proj',))
  learner = trainable.LoraAdapters(data.unified.model, config, 0)
  loss, prepare = data.functions()
  constants = learner.constants(data.frozen_models)
  assert constants[1]['old'] is None
  batch = prepare(tiny_groups.batch_of(data), tiny_groups.KEY)
  actual = jax.jit(learner.loss(loss))(learner.start(), constants, batch, None)
  assert_same((actual, 0.0), (expected, 0.0))


def test_groups_are_divided_into_rows_of_equal_shape():
  layout = group_rows.layout_of(5, 3, part=2)
  assert layout == group_rows.GroupLayout(rows=3, images=2, captions=1)
  assert group_rows.layout_of(0, 7, 4).images == 0
  batch = tiny_groups.batch_of(
    tiny_groups.data(
      tiny_groups.models()[1], tiny_groups.records(), group_part=2
    )
  )
  packed = {'packed': batch['packed']}
  rows = group_rows.split_rows(packed, group_rows.layout_of(4, 4, 2))
  codes = batch['packed'].codes
  np.testing.assert_array_equal(
    rows['packed'].codes.reshape(codes.shape), codes
  )
  np.testing.assert_array_equal(
    rows['packed'].image.tokens[::2], batch['packed'].image.tokens
  )
