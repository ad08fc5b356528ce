"""Arithmetic of pairs."""

import jax.numpy as jnp

from hermesflow_jax.pair_dpo import pair_margins


def test_winner_nll_is_per_token_and_reads_winners_only():
  values = jnp.array([[-6.0, -100.0], [-2.0, -100.0]])
  counts = jnp.array([[3, 7], [2, 7]])
  assert pair_margins.sft_loss(values, counts) == 1.5
  valid = jnp.array([True, False])
  assert pair_margins.sft_loss(values, counts, valid) == 2.0
