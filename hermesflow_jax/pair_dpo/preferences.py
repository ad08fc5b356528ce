"""Pair-DPO: one preference loss over understanding and generation at once.

HermesFlow (arXiv 2502.12148), equation 12. Per input, a margin of captions
given the image and a margin of images given the caption,

  delta = (log pi(win) - log ref(win)) - (log pi(lose) - log ref(lose)),
  loss  = -log sigmoid(beta delta_gen) - log sigmoid(beta delta_und),

averaged over pairs. The pair axis is explicit: `[B, 2, ...]` is (win, lose).
All is float32. Equation 6 prints a product of the margins, which has no
gradient at pi = ref: `methods.product` has it, for comparison.
"""

import dataclasses

import jax
import jax.numpy as jnp

WIN, LOSE = 0, 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairLogps:
  """Log-likelihoods of the pairs under one model, in nats.

  Attributes:
    t2i: float32[B, 2], of the masked codes given the caption.
    mmu: float32[B, 2], of the caption given the image.
  """

  t2i: jax.Array
  mmu: jax.Array


def reward_margins(policy: jax.Array, reference: jax.Array) -> jax.Array:
  """Returns delta, float32[B], of log-likelihoods float32[B, 2]."""
  ratios = policy - reference
  return ratios[..., WIN] - ratios[..., LOSE]


def log_sigmoid_loss(scaled: jax.Array) -> jax.Array:
  """Returns -log sigmoid of margins times beta, of any shape."""
  return -jax.nn.log_sigmoid(scaled)


def loss(
  policy: PairLogps,
  reference: PairLogps,
  *,
  beta: float,
  und_weight: float,
  gen_weight: float,
  und_valid: jax.Array | None = None,
  gen_valid: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the Pair-DPO loss and its metrics.

  Args:
    policy: of the model that learns.
    reference: of the frozen model; no gradient flows into it.
    beta: scale of the margins.
    und_weight: coefficient of the understanding loss.
    gen_weight: coefficient of the generation loss.
    und_valid: bool[B], the records that have a pair of captions; None: all.
      Or float32[B], each record's share in the mean, see `mean_weights`.
    gen_valid: the same of images.

  Returns:
    (float32[], metrics). Each modality's loss is a mean over its own pairs, 0
    when there are none. `margin` and the log-ratios are in nats, not scaled by
    beta; `accuracy` is the share of pairs with a margin above 0.
  """
  reference = jax.lax.stop_gradient(reference)
  gen, und = (
    valid_mean(log_sigmoid_loss(beta * reward_margins(p, r)), valid)
    for p, r, valid in (
      (policy.t2i, reference.t2i, gen_valid),
      (policy.mmu, reference.mmu, und_valid),
    )
  )
  total = gen_weight * gen + und_weight * und
  metrics = {'pairs/loss': total, 'gen/loss': gen, 'und/loss': und}
  return total, metrics | pair_metrics(policy, reference, und_valid, gen_valid)


def mean_weights(valid: jax.Array) -> jax.Array:
  """Returns float32[B], what each record adds to a mean over the valid ones.

  With these in place of `valid`, the losses and metrics of parts of a batch
  add up to those of the whole.
  """
  return valid / jnp.maximum(valid.sum(), 1).astype(jnp.float32)


def sft_loss(
  logps: jax.Array, counts: jax.Array, valid: jax.Array | None = None
) -> jax.Array:
  """Returns the winners' negative log-likelihood per token, a term to add.

  It keeps the likelihood of the winners from falling along with the losers'.

  Args:
    logps: float32[B, 2], of the policy.
    counts: int[B, 2], `label_counts` of the same rows.
    valid: bool[B], see `loss`.

  Returns:
    float32[], a mean over tokens, then over pairs.
  """
  nll = -logps[..., WIN] / jnp.maximum(counts[..., WIN], 1)
  return valid_mean(nll, valid)


def pair_metrics(
  policy: PairLogps,
  reference: PairLogps,
  und_valid: jax.Array | None = None,
  gen_valid: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Returns metrics of both kinds of pairs, which no method needs.

  Args: see `loss`.

  Returns:
    Of `und/` and `gen/`: `margin` and the log-ratios in nats, `accuracy`, the
    share of pairs with a margin above 0.
  """
  out = {}
  for name, p, r, valid in (
    ('gen', policy.t2i, reference.t2i, gen_valid),
    ('und', policy.mmu, reference.mmu, und_valid),
  ):
    ratios, delta = p - r, reward_margins(p, r)
    out |= {
      f'{name}/margin': valid_mean(delta, valid),
      f'{name}/accuracy': valid_mean((delta > 0).astype(jnp.float32), valid),
      f'{name}/win_log_ratio': valid_mean(ratios[..., WIN], valid),
      f'{name}/lose_log_ratio': valid_mean(ratios[..., LOSE], valid),
    }
  return out


def valid_mean(values: jax.Array, valid: jax.Array | None = None) -> jax.Array:
  """Returns the mean of float32[B] over the valid ones; 0 without any.

  Args:
    values: float32[B].
    valid: see `loss`.
  """
  if valid is None:
    return values.mean()
  share = mean_weights(valid) if valid.dtype == bool else valid
  return (share * jnp.where(share > 0, values, 0.0)).sum()
