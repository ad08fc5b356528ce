"""Pools the states of a text encoder to a vector per text."""

import jax
import jax.numpy as jnp


def first_token(states: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns the states of the first tokens ([CLS]): [B, T, D] to [B, D]."""
  del mask
  return states[:, 0]


def masked_mean(states: jax.Array, mask: jax.Array) -> jax.Array:
  """Averages the states over tokens, then scales them to L2 norm 1.

  As all-mpnet-base-v2 and all-MiniLM-L6-v2 pool (arXiv 1908.10084).

  Args:
    states: float32[B, T, D], last hidden states.
    mask: bool[B, T], true for tokens, at least one per row.

  Returns:
    float32[B, D].
  """
  weights = mask[..., None].astype(states.dtype)
  mean = (states * weights).sum(1) / weights.sum(1)
  return mean / jnp.maximum(
    jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-12
  )
