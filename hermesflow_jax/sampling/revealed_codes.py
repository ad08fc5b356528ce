"""Decides which sampled codes a MaskGIT step keeps, and which stay masked."""

import jax
import jax.numpy as jnp


def still_masked(
  masked: jax.Array,
  logps: jax.Array,
  noise: jax.Array,
  most: jax.Array,
  error_budget: float,
) -> jax.Array:
  """Returns the positions that stay masked after a step.

  Args:
    masked: bool[I], masked before the step.
    logps: float32[I], log-probabilities of the sampled codes.
    noise: float32[I], added to `logps` to get confidences.
    most: int32[], positions that stay masked. It is limited to the number of
      masked positions minus 1, and raised to 1.
    error_budget: see `maskgit.MaskGITSampler`; static.

  Returns:
    bool[I], the least confident positions; with a budget, without those of the
    likeliest codes.
  """
  confidence = jnp.where(masked, logps + noise, jnp.inf)
  count = jnp.minimum(most, masked.sum() - 1)
  count = jnp.maximum(count, 1)
  # By rank, not by a threshold: the compiler may compute a confidence twice
  # with different rounding, and then the threshold's own code is below it.
  stays = masked & (_ranks(confidence) < count)
  if error_budget:
    stays &= ~_within_budget(masked, logps, error_budget)
  return stays


def _within_budget(masked, logps, budget):
  """Returns the likeliest codes whose expected errors fit a budget, bool[I]."""
  errors = jnp.where(masked, -jnp.expm1(logps), 0.0)
  fits = (jnp.cumsum(jnp.sort(errors)) <= budget).sum()
  return _ranks(errors) < fits


def _ranks(values):
  return jnp.argsort(jnp.argsort(values))
