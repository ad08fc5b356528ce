"""The arithmetic of GRPO: advantages, clipping and divergence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.pair_dpo import group_objective

ONES = jnp.ones((1, 2))


@functools.partial(jax.jit, static_argnames=('ratio', 'clip', 'kl_weight'))
def compiled_loss(values, advantages, ratio, clip, kl_weight):
  log_ratios = values.reshape(1, 2, 1, 1)
  return group_objective.policy_loss(
    log_ratios,
    jnp.ones(log_ratios.shape, bool),
    advantages[None],
    ONES / 2,
    ratio=ratio,
    clip=clip,
    kl_weight=kl_weight,
  )


def policy_loss(values, advantages, ratio='sum', clip=0.2, kl_weight=0.0):
  """The loss of two candidates with a token each, and its metrics."""
  values, advantages = (
    jnp.asarray(numbers, jnp.float32) for numbers in (values, advantages)
  )
  return compiled_loss(values, advantages, ratio, clip, kl_weight)


def gradient(values, advantages, **options):
  return jax.grad(lambda values: policy_loss(values, advantages, **options)[0])(
    jnp.asarray(values, jnp.float32)
  )


@pytest.mark.parametrize('reward', [0.0, 0.1, 1 / 3, -7.3])
def test_a_flat_group_has_no_advantages(reward):
  """To the bit, though the mean of equal numbers may be rounded."""
  rewards = jnp.full((1, 7), reward)
  actual = group_objective.group_advantages(rewards, jnp.ones((1, 7)))
  assert not np.any(actual)


def test_advantages_have_mean_0_and_deviation_1():
  rewards = jax.random.uniform(jax.random.key(0), (3, 8))
  actual = group_objective.group_advantages(rewards, jnp.ones((3, 8)))
  np.testing.assert_allclose(actual.mean(-1), 0.0, atol=1e-6)
  np.testing.assert_allclose(actual.std(-1), 1.0, rtol=1e-4)
  assert (actual.argmax(-1) == rewards.argmax(-1)).all()


def test_unscaled_advantages_are_differences_from_the_mean():
  rewards = jnp.array([[0.5, 0.51, 0.52], [0.0, 1.0, 0.5], [0.2, 0.2, 0.2]])
  advantages = group_objective.group_advantages(
    rewards, jnp.ones((3, 3)), scaled=False
  )
  expected = [[-0.01, 0.0, 0.01], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
  np.testing.assert_allclose(advantages, expected, atol=1e-7)


def test_a_caption_that_was_written_twice_counts_twice():
  samples = jnp.array([[1.0, 0.2, 0.2, 0.0]])
  merged = jnp.array([[1.0, 0.2, 0.0, 9.0]])
  counts = jnp.array([[1.0, 2.0, 1.0, 0.0]])
  expected = group_objective.group_advantages(samples, jnp.ones((1, 4)))[0]
  actual = group_objective.group_advantages(merged, counts)[0]
  np.testing.assert_allclose(
    actual, [expected[0], expected[1], expected[3], 0.0], rtol=1e-6
  )


@pytest.mark.parametrize('ratio', group_objective.RATIOS)
def test_before_the_first_step_ratios_are_1_and_none_is_clipped(ratio):
  value, metrics = policy_loss([0.0, 0.0], [1.0, -1.0], ratio)
  assert value == 0.0
  assert metrics == {'ratio': 1.0, 'clipped': 0.0, 'gain': 0.0, 'kl': 0.0}


def test_two_candidates_have_the_gradient_of_a_hand_computed_case():
  """Rewards 1 and 0: advantages 1 and -1, so d loss is -q1 / 2 and q2 / 2."""
  advantages = group_objective.group_advantages(jnp.array([[1.0, 0.0]]), ONES)
  np.testing.assert_allclose(advantages, [[1.0, -1.0]], rtol=1e-5)
  actual = gradient([0.3, -0.1], [1.0, -1.0], clip=1e9)
  np.testing.assert_allclose(
    actual, [-np.exp(0.3) / 2, np.exp(-0.1) / 2], rtol=1e-6
  )


@pytest.mark.parametrize(
  'values, stopped',
  [
    ([0.3, -0.3], [True, True]),
    ([-0.3, 0.3], [False, False]),
    ([0.1, -0.1], [False, False]),
    ([0.3, -0.1], [True, False]),
  ],
)
def test_only_gains_beyond_the_bound_are_stopped(values, stopped):
  slopes = gradient(values, [1.0, -1.0])
  np.testing.assert_array_equal(slopes == 0, stopped)
  _, metrics = policy_loss(values, [1.0, -1.0])
  assert metrics['clipped'] == np.mean(stopped)


def test_the_divergence_is_0_at_the_start_and_positive_elsewhere():
  for values in ([0.5, 0.0], [-0.5, 0.0], [2.0, 1.0]):
    value, metrics = policy_loss(values, [0.0, 0.0], kl_weight=3.0)
    assert metrics['kl'] > 0
    np.testing.assert_allclose(value, 3 * metrics['kl'], rtol=1e-6)
  assert not np.any(gradient([0.0, 0.0], [0.0, 0.0], kl_weight=3.0))


def test_ratios_are_of_sums_of_means_or_of_tokens():
  log_ratios = jnp.arange(6.0).reshape(1, 1, 2, 3) / 10
  scored = jnp.array([True, True, True, True, True, False]).reshape(1, 1, 2, 3)
  log_ratios = jnp.where(scored, log_ratios, 0.0)
  expected = {
    'sum': ([0.5], [1.0]),
    'mean': ([0.2], [1.0]),
    'token': ([0.0, 0.1, 0.2, 0.3, 0.4, 0.0], [0.2] * 5 + [0.0]),
  }
  for name, (values, shares) in expected.items():
    actual = group_objective.RATIOS[name](log_ratios, scored)
    np.testing.assert_allclose(actual[0][0, 0], values, atol=1e-6)
    np.testing.assert_allclose(actual[1][0, 0], shares, atol=1e-6)
