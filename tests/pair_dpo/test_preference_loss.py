"""The loss of given log-likelihoods: official values, weights, gradients."""

import golden_pairs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.pair_dpo import pair_margins


@pytest.fixture(scope='module')
def both(golden):
  return golden_pairs.logps(golden, 'policy'), golden_pairs.logps(
    golden, 'reference'
  )


def test_losses_equal_the_official_ones(golden, both):
  value, metrics = golden_pairs.loss(*both, beta=float(golden['beta']))
  # Sums of magnitude 90 carry 1e-5 of float32 rounding into the margins.
  close = {'atol': 1e-5}
  np.testing.assert_allclose(value, golden['dpo_loss'], **close)
  np.testing.assert_allclose(
    metrics['gen/loss'], golden['dpo_loss_t2i'].mean(), **close
  )
  np.testing.assert_allclose(
    metrics['und/loss'], golden['dpo_loss_mmu'].mean(), **close
  )


def test_at_the_reference_the_loss_is_two_log_two(both):
  value, metrics = golden_pairs.loss(both[1], both[1])
  np.testing.assert_allclose(value, 2 * np.log(2), rtol=1e-6)
  assert metrics['gen/margin'] == metrics['und/margin'] == 0


def test_each_weight_scales_its_own_modality(both):
  _, metrics = golden_pairs.loss(*both)
  for name, other in ('und', 'gen'), ('gen', 'und'):
    value, _ = golden_pairs.loss(*both, **{f'{other}_weight': 0.0})
    np.testing.assert_allclose(value, metrics[f'{name}/loss'], rtol=1e-6)


def test_the_gradient_raises_winners_and_lowers_losers(both):
  def total(policy, reference):
    return golden_pairs.loss(policy, reference)[0]

  grads, still = jax.grad(total, argnums=(0, 1))(*both)
  for grad in grads.t2i, grads.mmu:
    assert (grad[:, pair_margins.WIN] < 0).all()
    assert (grad[:, pair_margins.LOSE] > 0).all()
  assert not np.any(still.t2i) and not np.any(still.mmu)


def test_a_margin_far_below_zero_still_has_a_finite_gradient():
  policy = pair_margins.PairValues(jnp.array([[-1e4, 0.0]]), jnp.zeros((1, 2)))
  reference = jax.tree.map(jnp.zeros_like, policy)
  grads = jax.grad(lambda p: golden_pairs.loss(p, reference)[0])(policy)
  np.testing.assert_allclose(grads.t2i, [[-0.2, 0.2]], rtol=1e-6)


def test_a_record_without_a_pair_of_a_kind_counts_for_nothing(both):
  policy, reference = jax.tree.map(lambda a: a[:3], both)
  valid = jnp.array([True, False, True])
  some = jax.tree.map(lambda a: a[np.array([0, 2])], (policy, reference))
  expected, expected_metrics = golden_pairs.loss(*some)
  value, metrics = golden_pairs.loss(
    policy, reference, und_valid=valid, gen_valid=valid
  )
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  for name, number in expected_metrics.items():
    np.testing.assert_allclose(metrics[name], number, rtol=1e-5)


def test_a_batch_without_pairs_of_a_kind_has_no_loss_of_it(both):
  _, metrics = golden_pairs.loss(*both, und_valid=jnp.zeros(3, bool))
  assert all(metrics[k] == 0 for k in metrics if k.startswith('und/'))
  assert metrics['pairs/loss'] == metrics['gen/loss']


def test_metrics_describe_the_margins():
  policy = pair_margins.PairValues(
    jnp.array([[3.0, 1.0], [0.0, 2.0]]), jnp.array([[1.0, 0.0], [2.0, 0.0]])
  )
  reference = jax.tree.map(jnp.zeros_like, policy)
  _, metrics = golden_pairs.loss(policy, reference)
  assert metrics['gen/margin'] == 0.0 and metrics['und/margin'] == 1.5
  assert metrics['gen/accuracy'] == 0.5 and metrics['und/accuracy'] == 1.0
  assert metrics['gen/win_log_ratio'] == metrics['gen/lose_log_ratio'] == 1.5
