"""Losses on answers: gradients of hand-computed cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import answer_losses
from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sequences import attention_mask

LOGPS = jnp.log(
  jnp.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.05, 0.9, 0.05]])
)


def slope(form, logps, reference=None, **changes):
  """Returns the gradient of a form, float32[B, S]."""
  config = answer_config.AnswerConfig(form=form, **changes)
  counts = jnp.full(logps.shape, 2)

  def total(logps):
    return answer_losses.FORMS[form](logps, counts, reference, config).sum()

  return jax.jit(jax.grad(total))(logps)


def test_grpo_has_the_expected_gradient_of_sampled_groups():
  """The mean over answers of advantage times gradient of log-probability."""
  policy = jax.nn.softmax(LOGPS)
  right = policy[:, :1]
  reward = jnp.array([1.0, 0.0, 0.0])
  advantage = (reward - right) / jnp.sqrt(right * (1 - right))

  def surrogate(logps):
    logp = jax.nn.log_softmax(logps)
    return (policy * advantage * logp).sum()

  np.testing.assert_allclose(
    slope('grpo', LOGPS), -jax.grad(surrogate)(LOGPS), rtol=1e-5
  )


def test_grpo_is_pi_minus_two_arcsines():
  values = answer_losses.grpo(LOGPS, None, None, None)
  right = jax.nn.softmax(LOGPS)[:, 0]
  np.testing.assert_allclose(
    values, np.pi - 2 * np.arcsin(np.sqrt(right)), rtol=1e-5
  )


@pytest.mark.parametrize('gap', [80.0, 1e4, -80.0, -1e4])
def test_certain_answers_have_no_gradient_of_grpo(gap):
  """A group of equal rewards is flat, and no gradient is NaN."""
  gradient = slope('grpo', jnp.array([[gap, 0.0]]))
  np.testing.assert_allclose(gradient, 0.0, atol=1e-8)


def test_choices_that_a_question_lacks_change_no_loss():
  lowest = jnp.full((3, 1), attention_mask.LOWEST)
  padded = jnp.concatenate([LOGPS, lowest], axis=1)
  np.testing.assert_allclose(
    slope('grpo', padded)[:, :3], slope('grpo', LOGPS), rtol=1e-6
  )


def test_sft_pushes_right_answers_alone_per_token():
  expected = np.zeros((3, 3))
  expected[:, 0] = -0.5
  np.testing.assert_allclose(slope('sft', LOGPS), expected)


def test_pairs_have_the_loss_of_pair_dpo():
  policy, reference = LOGPS[:, :2], LOGPS[:, 1:]
  config = answer_config.AnswerConfig(form='pairs', beta=0.7)
  scores = methods.PairScores(
    pair_margins.PairValues(policy, policy),
    pair_margins.PairValues(reference, reference),
  )
  np.testing.assert_allclose(
    answer_losses.pairs(policy, None, reference, config).mean(),
    methods.pair_dpo(scores, methods.LossParams(0.7))['und'],
    rtol=1e-6,
  )
