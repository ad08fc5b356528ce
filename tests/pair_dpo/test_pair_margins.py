"""Arithmetic on preference pairs."""

import jax.numpy as jnp

from hermesflow_jax.pair_dpo import pair_margins


def test_winner_nll_is_per_token_and_reads_winners_only():
  values = jnp.array([[-6.0, -100.0], [-2.0, -100.0]])
  counts = jnp.array([[3, 7], [2, 7]])
  assert pair_margins.sft_loss(values, counts) == 1.5
  weights = pair_margins.mean_weights(jnp.array([True, False]))
  assert pair_margins.sft_loss(values, counts, weights) == 2.0


def test_values_without_a_pair_may_be_anything():
  weights = pair_margins.mean_weights(jnp.array([True, False, True]))
  values = jnp.array([1.0, jnp.nan, 4.0])
  assert pair_margins.weighted_mean(values, weights) == 2.5
  nobody = pair_margins.mean_weights(jnp.zeros(3, bool))
  assert pair_margins.weighted_mean(values, nobody) == 0
