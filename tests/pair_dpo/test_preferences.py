"""Pair-DPO in numbers: the official losses, and what each term answers to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.pair_dpo import preferences
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import log_likelihood


@pytest.fixture(scope='module')
def arrays(goldens):
  with np.load(goldens / 'showo_small' / 'io.npz') as file:
    return dict(file)


def logps(arrays, model):
  """The official log-likelihoods; four t2i pairs and three mmu pairs."""

  def pair(task):
    sides = [arrays[f'logp_{model}_{task}_{s}'] for s in ('win', 'lose')]
    return jnp.stack(sides, axis=-1)

  return preferences.PairLogps(pair('t2i'), pair('mmu'))


def loss(policy, reference, **options):
  settings = {'beta': 0.2, 'und_weight': 1.0, 'gen_weight': 1.0} | options
  return preferences.loss(policy, reference, **settings)


@pytest.fixture(scope='module')
def both(arrays):
  return logps(arrays, 'policy'), logps(arrays, 'reference')


def test_losses_equal_the_official_ones(arrays, both):
  value, metrics = loss(*both, beta=float(arrays['beta']))
  # Sums of magnitude 90 carry 1e-5 of float32 rounding into the margins.
  close = {'atol': 1e-5}
  np.testing.assert_allclose(value, arrays['dpo_loss'], **close)
  np.testing.assert_allclose(
    metrics['gen/loss'], arrays['dpo_loss_t2i'].mean(), **close
  )
  np.testing.assert_allclose(
    metrics['und/loss'], arrays['dpo_loss_mmu'].mean(), **close
  )


def test_at_the_reference_the_loss_is_two_log_two(both):
  value, metrics = loss(both[1], both[1])
  np.testing.assert_allclose(value, 2 * np.log(2), rtol=1e-6)
  assert metrics['gen/margin'] == metrics['und/margin'] == 0


def test_each_weight_scales_its_own_modality(both):
  _, metrics = loss(*both)
  for name, other in ('und', 'gen'), ('gen', 'und'):
    value, _ = loss(*both, **{f'{other}_weight': 0.0})
    np.testing.assert_allclose(value, metrics[f'{name}/loss'], rtol=1e-6)


def test_the_gradient_raises_winners_and_lowers_losers(both):
  def total(policy, reference):
    return loss(policy, reference)[0]

  grads, still = jax.grad(total, argnums=(0, 1))(*both)
  for grad in grads.t2i, grads.mmu:
    assert (grad[:, preferences.WIN] < 0).all()
    assert (grad[:, preferences.LOSE] > 0).all()
  assert not np.any(still.t2i) and not np.any(still.mmu)


def test_a_margin_far_below_zero_still_has_a_finite_gradient():
  policy = preferences.PairLogps(jnp.array([[-1e4, 0.0]]), jnp.zeros((1, 2)))
  reference = jax.tree.map(jnp.zeros_like, policy)
  grads = jax.grad(lambda p: loss(p, reference)[0])(policy)
  np.testing.assert_allclose(grads.t2i, [[-0.2, 0.2]], rtol=1e-6)


def test_a_record_without_a_pair_of_a_kind_counts_for_nothing(both):
  policy, reference = jax.tree.map(lambda a: a[:3], both)
  valid = jnp.array([True, False, True])
  some = jax.tree.map(lambda a: a[np.array([0, 2])], (policy, reference))
  wanted, wanted_metrics = loss(*some)
  value, metrics = loss(policy, reference, und_valid=valid, gen_valid=valid)
  np.testing.assert_allclose(value, wanted, rtol=1e-6)
  for name, number in wanted_metrics.items():
    np.testing.assert_allclose(metrics[name], number, rtol=1e-5)


def test_a_batch_without_pairs_of_a_kind_has_no_loss_of_it(both):
  _, metrics = loss(*both, und_valid=jnp.zeros(3, bool))
  assert all(metrics[k] == 0 for k in metrics if k.startswith('und/'))
  assert metrics['pairs/loss'] == metrics['gen/loss']


def test_metrics_describe_the_margins():
  policy = preferences.PairLogps(
    jnp.array([[3.0, 1.0], [0.0, 2.0]]), jnp.array([[1.0, 0.0], [2.0, 0.0]])
  )
  reference = jax.tree.map(jnp.zeros_like, policy)
  _, metrics = loss(policy, reference)
  assert metrics['gen/margin'] == 0.0 and metrics['und/margin'] == 1.5
  assert metrics['gen/accuracy'] == 0.5 and metrics['und/accuracy'] == 1.0
  assert metrics['gen/win_log_ratio'] == metrics['gen/lose_log_ratio'] == 1.5


def test_winner_nll_is_per_token_and_reads_winners_only():
  values = jnp.array([[-6.0, -100.0], [-2.0, -100.0]])
  counts = jnp.array([[3, 7], [2, 7]])
  assert preferences.sft_loss(values, counts) == 1.5
  valid = jnp.array([True, False])
  assert preferences.sft_loss(values, counts, valid) == 2.0


def test_token_logps_are_a_log_softmax_over_the_whole_vocabulary():
  logits = np.random.default_rng(0).normal(size=(1, 3, 2, 5, 11))
  every = np.arange(11)[:, None, None, None]
  every = np.broadcast_to(every, (11, 3, 2, 5))
  copies = np.broadcast_to(logits, (11, 3, 2, 5, 11))
  logps = jax.jit(log_likelihood.token_logps)(copies, every)
  np.testing.assert_allclose(np.exp(logps).sum(0), 1.0, rtol=1e-5)


def test_unscored_tokens_count_for_nothing():
  rng = np.random.default_rng(0)
  logits, labels = rng.normal(size=(4, 5, 11)), rng.integers(0, 11, (4, 5))
  labels[:, 0] = token_rows.UNSCORED
  logps = np.asarray(jax.jit(log_likelihood.token_logps)(logits, labels))
  assert not logps[:, 0].any()
  np.testing.assert_allclose(
    jax.jit(log_likelihood.sequence_logps)(logits, labels),
    logps[:, 1:].sum(-1),
    rtol=1e-6,
  )
  np.testing.assert_array_equal(log_likelihood.label_counts(labels), 4)


def test_half_precision_logits_are_scored_in_float32():
  logits = np.random.default_rng(0).normal(size=(4, 11)).astype(jnp.bfloat16)
  score = jax.jit(log_likelihood.token_logps)
  found = score(logits, np.arange(4))
  assert found.dtype == jnp.float32
  np.testing.assert_array_equal(
    found, score(logits.astype(np.float32), np.arange(4))
  )


def test_next_labels_stand_where_they_are_predicted():
  found = log_likelihood.next_labels(jnp.array([[-100, 5, 6], [7, 8, -100]]))
  np.testing.assert_array_equal(found, [[5, 6, -100], [8, -100, -100]])


def test_compat_batch_sum_is_one_sigmoid_of_all_margins(both):
  policy, reference = both
  delta = preferences.reward_margins(policy.t2i, reference.t2i).sum()
  _, metrics = loss(*map(official_defects.sum_over_batch, both))
  np.testing.assert_allclose(
    metrics['gen/loss'], np.log1p(np.exp(-0.2 * delta)), rtol=1e-4
  )


def test_compat_batch_sum_leaves_out_invalid_pairs(both):
  valid = jnp.array([True, False, True])
  found = official_defects.sum_over_batch(both[0], und_valid=valid)
  np.testing.assert_allclose(
    found.mmu[0], both[0].mmu[0] + both[0].mmu[2], rtol=1e-6
  )
  assert found.t2i.shape == found.mmu.shape == (1, 2)


def test_compat_understanding_margin_also_moves_with_images(both):
  policy, reference = jax.tree.map(lambda a: a[:3], both)
  as_text = jnp.array([[1.0, 0.5]] * 3)
  _, plain = loss(policy, reference)
  _, metrics = loss(
    official_defects.score_images_as_text(policy, as_text), reference
  )
  np.testing.assert_allclose(
    metrics['und/margin'], plain['und/margin'] + 0.5, atol=1e-5
  )
  assert metrics['gen/margin'] == plain['gen/margin']
