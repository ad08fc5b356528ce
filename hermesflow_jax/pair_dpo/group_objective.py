"""GRPO's arithmetic: advantages, clipped surrogates, divergence.

Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300, equations
3 and 4). A candidate with reward r has in its group the advantage

  A = (r - mean r) / (std r + eps),

or only r - mean r (Dr. GRPO, arXiv 2503.20783), so that groups count less
whose rewards hardly differ.
Let q be its likelihood under the policy, divided by that under the model that
drew it. Training maximizes the mean min(q A, clip(q, 1 - c, 1 + c) A). For an
image, q can come from the sum or the mean over its tokens (GSPO, arXiv
2507.18071), or from each token. All numbers are float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_EPSILON = 1e-6


def group_advantages(
  rewards: jax.Array, counts: jax.Array, scaled: bool = True
) -> jax.Array:
  """Returns each candidate's advantage in its group.

  Args:
    rewards: float32[B, K].
    counts: float32[B, K], how often each candidate was sampled; 0 for
      candidates that do not exist.
    scaled: whether to divide by the rewards' standard deviation in the group.

  Returns:
    float32[B, K]; exactly 0 where all rewards in a group are equal.
  """
  exists = counts > 0
  total = jnp.maximum(counts.sum(-1, keepdims=True), 1.0)

  def mean(values):
    return (counts * values).sum(-1, keepdims=True) / total

  centered = jnp.where(exists, rewards - mean(rewards), 0.0)
  deviation = jnp.sqrt(mean(centered**2))
  most = jnp.where(exists, rewards, -jnp.inf).max(-1, keepdims=True)
  least = jnp.where(exists, rewards, jnp.inf).min(-1, keepdims=True)
  advantages = centered / (deviation + _EPSILON) if scaled else centered
  return jnp.where(exists & (most > least), advantages, 0.0)


def _sum_ratios(log_ratios, scored):
  del scored
  sums = log_ratios.sum(-1).mean(-1, keepdims=True)
  return sums, jnp.ones_like(sums)


def _mean_ratios(log_ratios, scored):
  count = jnp.maximum(scored.sum((-2, -1)), 1)
  means = (log_ratios.sum((-2, -1)) / count)[..., None]
  return means, jnp.ones_like(means)


def _token_ratios(log_ratios, scored):
  flat = log_ratios.reshape(*log_ratios.shape[:-2], -1)
  scored = scored.reshape(flat.shape)
  return flat, scored / jnp.maximum(scored.sum(-1, keepdims=True), 1)


# Log-ratios of tokens, float32[..., J, T] under J masks, and whether they are
# scored, bool[..., J, T] -> the log-ratios that are clipped, float32[..., L],
# and their weights in the mean of a candidate, [..., L].
RATIOS: dict[str, Callable] = {
  'sum': _sum_ratios,
  'mean': _mean_ratios,
  'token': _token_ratios,
}


def policy_loss(
  log_ratios: jax.Array,
  scored: jax.Array,
  advantages: jax.Array,
  weights: jax.Array,
  *,
  ratio: str,
  clip: float,
  kl_weight: float,
  reference_log_ratios: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns GRPO's loss for candidates, and its metrics.

  Args:
    log_ratios: float32[B, K, J, T], log pi - log pi_old per token, 0 where
      it is not scored.
    scored: bool[B, K, J, T], scored tokens.
    advantages: float32[B, K].
    weights: float32[B, K], candidate weights; 0 for those that do not count.
      Weighted sums over batch parts add up.
    ratio: a key in RATIOS.
    clip: c.
    kl_weight: weight for the divergence.
    reference_log_ratios: float32[B, K, J, T], log pi - log pi_ref per token for
      the divergence, 0 where it is not scored; None if pi_ref is pi_old.

  Returns:
    (float32[], {name: float32[]}): `ratio`, `clipped` (the share that the bound
    stops), `gain` (log-ratio times advantage, nats) and `kl`, the divergence
    per token from pi_ref in nats: exp(-d) + d - 1 for a log-ratio d (equation
    4).
  """
  values, shares = RATIOS[ratio](log_ratios, scored)
  shares = shares * weights[..., None]
  advantages = advantages[..., None]
  ratios = jnp.exp(values)
  free = ratios * advantages
  bounded = jnp.clip(ratios, 1.0 - clip, 1.0 + clip) * advantages

  def mean(a):
    return (shares * a).sum()

  surrogate = mean(jnp.minimum(free, bounded))
  if reference_log_ratios is None:
    reference_log_ratios = log_ratios
  per_token = jnp.expm1(-reference_log_ratios) + reference_log_ratios
  per_token = jnp.where(scored, per_token, 0.0)
  count = jnp.maximum(scored.sum((-2, -1)), 1)
  divergence = (weights * per_token.sum((-2, -1)) / count).sum()
  loss = -surrogate
  if kl_weight:
    loss += kl_weight * divergence
  return loss, {
    'ratio': mean(ratios),
    'clipped': mean((bounded < free).astype(jnp.float32)),
    'gain': mean(values * advantages),
    'kl': divergence,
  }
