"""The loss of Pair-DPO: which records and pairs it depends on."""

import jax
import numpy as np
import pytest
import tiny
import tiny_pairs

from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_loss


@pytest.fixture(scope='module')
def models():
  return tiny_pairs.models()


def test_at_the_reference_each_kind_of_pair_costs_log_two(models):
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(1, 'no difference'),
    tiny_pairs.record(2),
  )
  (value, metrics), _ = tiny_pairs.loss_and_gradient()(
    models[0], models[0], batch, tiny_pairs.KEY
  )
  np.testing.assert_allclose(metrics['gen/loss'], np.log(2), rtol=1e-6)
  np.testing.assert_allclose(metrics['und/loss'], np.log(2), rtol=1e-6)
  np.testing.assert_allclose(
    value,
    2 * np.log(2)
    + 0.3 * metrics['gen/winner_nll']
    + 0.2 * metrics['und/winner_nll'],
    rtol=1e-6,
  )


def test_each_parameter_learns(models):
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0), tiny_pairs.record(1), tiny_pairs.record(2)
  )
  _, grads = tiny_pairs.loss_and_gradient()(*models, batch, tiny_pairs.KEY)
  leaves, _ = jax.tree_util.tree_flatten_with_path(grads)
  still = [jax.tree_util.keystr(path) for path, g in leaves if not g.any()]
  assert still == []


def test_a_record_without_pairs_has_no_influence(models):
  run, dropped = (
    tiny_pairs.loss_and_gradient(),
    ('no difference', 'no difference'),
  )
  results = []
  for n in (1, 7):
    batch = tiny_pairs.batch_of(
      tiny_pairs.record(0), tiny_pairs.record(n, *dropped), tiny_pairs.record(2)
    )
    (value, metrics), grads = run(*models, batch, tiny_pairs.KEY)
    results.append((value, metrics, grads))
  jax.tree.map(np.testing.assert_array_equal, *results)


def test_a_pair_of_one_kind_counts_for_that_kind_alone(models):
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(1, image_dropped='same content'),
    tiny_pairs.record(2),
  )
  other = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(7, image_dropped='same content'),
    tiny_pairs.record(2),
  )
  (_, a), _ = tiny_pairs.loss_and_gradient()(*models, batch, tiny_pairs.KEY)
  (_, b), _ = tiny_pairs.loss_and_gradient()(*models, other, tiny_pairs.KEY)
  assert a['gen/loss'] == b['gen/loss']
  assert a['und/loss'] != b['und/loss']


def test_the_product_is_a_mean_over_records_with_both_pairs(models):
  objective = objective_config.ObjectiveConfig(method='product')
  batch = tiny_pairs.batch_of(
    tiny_pairs.record(0),
    tiny_pairs.record(1, 'no difference'),
    tiny_pairs.record(2, '', 'no difference'),
  )

  @jax.jit
  def product(model, batch, key):
    return pair_loss.loss(
      model,
      model,
      tiny_pairs.PREPARE(batch, key),
      objective=objective,
      reply=tiny.LENGTHS.reply,
    )[0]

  value = product(models[1], batch, tiny_pairs.KEY)
  np.testing.assert_allclose(value, np.log(2), rtol=1e-5)


def test_without_any_pair_there_is_nothing_to_learn(models):
  dropped = tiny_pairs.record(0, 'no difference', 'no difference')
  (value, _), grads = tiny_pairs.loss_and_gradient()(
    *models, tiny_pairs.batch_of(dropped, dropped, dropped), tiny_pairs.KEY
  )
  assert value == 0
  assert not any(g.any() for g in jax.tree.leaves(grads))


def test_packed_pairs_cost_what_rows_of_their_own_do(models):
  run = tiny_pairs.loss_and_gradient()
  records = [tiny_pairs.RECORDS[n] for n in (0, 1, 4)]
  actual, expected = (
    run(
      *models,
      tiny_pairs.batch_of(*records, separate_drops=separate),
      tiny_pairs.KEY,
    )
    for separate in (False, True)
  )
  tiny_pairs.assert_close(actual, expected, 1e-4)
