"""Arithmetic on preference pairs: margins, means over pairs, metrics.

A pair's margin in nats is

  delta = (log pi(win) - log ref(win)) - (log pi(lose) - log ref(lose)),

with the policy pi and the frozen reference ref (HermesFlow, arXiv 2502.12148,
equation 12). The pair axis is explicit: `[B, 2]` is (win, lose). All numbers
are float32. `methods` turns margins into losses.
"""

import dataclasses

import jax
import jax.numpy as jnp

WIN, LOSE = 0, 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairValues:
  """A value for each side of the image pair and of the caption pair.

  The values are log-likelihoods under a single model, in nats, or the numbers
  of tokens that they sum over.

  Attributes:
    t2i: float32[B, 2] or int32[B, 2], for the image pair: its masked codes
      given the caption. None: not scored.
    mmu: the same for the caption pair: its captions given the image.
  """

  t2i: jax.Array | None
  mmu: jax.Array | None


def reward_margins(policy: jax.Array, reference: jax.Array) -> jax.Array:
  """Returns the margins delta.

  Args:
    policy: float32[B, 2], log-likelihoods under the policy.
    reference: float32[B, 2], log-likelihoods under the reference.

  Returns:
    float32[B], nats.
  """
  ratios = policy - reference
  return ratios[..., WIN] - ratios[..., LOSE]


def log_sigmoid_loss(scaled: jax.Array) -> jax.Array:
  """Returns -log sigmoid of margins times beta, float32 of any shape."""
  return -jax.nn.log_sigmoid(scaled)


def mean_weights(valid: jax.Array) -> jax.Array:
  """Returns each record's weight in a mean over valid records.

  Over a whole batch the weights add up to 1, so weighted sums over its parts
  add up to its mean.

  Args:
    valid: bool[B], whether a record has a pair.

  Returns:
    float32[B], 0 for invalid records.
  """
  return valid / jnp.maximum(valid.sum(), 1).astype(jnp.float32)


def weighted_mean(
  values: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
  """Returns the weighted sum, float32[].

  Args:
    values: float32[B]. Values with weight 0 may be NaN.
    weights: float32[B], see `mean_weights`; None: all pairs weigh the same.
  """
  if weights is None:
    return values.mean()
  return (weights * jnp.where(weights > 0, values, 0.0)).sum()


def sft_loss(
  logps: jax.Array, counts: jax.Array, weights: jax.Array | None = None
) -> jax.Array:
  """Returns the winners' negative log-likelihood per token.

  As an additional loss it keeps the winners' likelihood from falling along with
  the losers'.

  Args:
    logps: float32[B, 2], log-likelihoods under the policy.
    counts: int32[B, 2] or float32[B, 2], scored tokens.
    weights: see `weighted_mean`.

  Returns:
    float32[], nats: a mean over tokens, then over pairs.
  """
  nll = -logps[..., WIN] / jnp.maximum(counts[..., WIN], 1)
  return weighted_mean(nll, weights)


def pair_metrics(
  policy: PairValues,
  reference: PairValues,
  und_weights: jax.Array | None = None,
  gen_weights: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Returns margin metrics for captions and for images.

  Args:
    policy: log-likelihoods under the policy.
    reference: log-likelihoods under the reference.
    und_weights: weights for caption pairs, see `weighted_mean`.
    gen_weights: weights for image pairs.

  Returns:
    float32[] by name, with the prefixes `und/` (captions) and `gen/` (images):
    `margin`, `win_log_ratio` and `lose_log_ratio` in nats, and `accuracy`, the
    share of pairs whose margin is above 0.
  """
  metrics = {}
  for name, p, r, weights in (
    ('gen', policy.t2i, reference.t2i, gen_weights),
    ('und', policy.mmu, reference.mmu, und_weights),
  ):
    ratios, delta = p - r, reward_margins(p, r)
    metrics |= {
      f'{name}/margin': weighted_mean(delta, weights),
      f'{name}/accuracy': weighted_mean(
        (delta > 0).astype(jnp.float32), weights
      ),
      f'{name}/win_log_ratio': weighted_mean(ratios[..., WIN], weights),
      f'{name}/lose_log_ratio': weighted_mean(ratios[..., LOSE], weights),
    }
  return metrics
