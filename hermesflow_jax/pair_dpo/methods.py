"""Preference losses as functions of margins.

Every method takes `PairScores` and `LossParams` and returns its losses by
kind: 'und' (captions), 'gen' (images), or 'both' where the kinds do not
separate. A method that learns from a single kind returns that kind only. Most
methods average a function of beta times the margin delta (see `pair_margins`)
over pairs. Training calls them from `pair_loss.preference_loss`.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import pair_margins


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairScores:
  """Log-likelihoods under policy and reference, for B records.

  Attributes:
    policy: log-likelihoods under the policy, float32[B, 2] each.
    reference: the same under the frozen reference.
    counts: token counts of these log-likelihoods, float32[B, 2] or int32[B, 2]
      each; `sft` and `per_token` read it. None: not known.
    und_share: float32[B], each record's weight in means over caption pairs, see
      `pair_margins.mean_weights`; None: all weigh the same.
    gen_share: float32[B], the same for image pairs.
    both_share: float32[B], the same for records with both pairs.
  """

  policy: pair_margins.PairValues
  reference: pair_margins.PairValues
  counts: pair_margins.PairValues | None = None
  und_share: jax.Array | None = None
  gen_share: jax.Array | None = None
  both_share: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class LossParams:
  """Method parameters.

  Attributes:
    beta: scale of the margins.
    smoothing: probability that the labels win and lose are swapped; `smoothed`
      and `robust` read it.
  """

  beta: float
  smoothing: float = 0.0


# float32[] by kind: 'und', 'gen' or 'both'.
Losses = dict[str, jax.Array]


def pair_dpo(scores: PairScores, params: LossParams) -> Losses:
  """-log sigmoid(beta delta), for both kinds (arXiv 2502.12148, eq. 12)."""
  return _mean_losses(
    scores, lambda delta: pair_margins.log_sigmoid_loss(params.beta * delta)
  )


def dpo_understanding(scores: PairScores, params: LossParams) -> Losses:
  """DPO on captions alone (arXiv 2305.18290)."""
  return {'und': pair_dpo(scores, params)['und']}


def dpo_generation(scores: PairScores, params: LossParams) -> Losses:
  """DPO on images alone (arXiv 2305.18290)."""
  return {'gen': pair_dpo(scores, params)['gen']}


def sft(scores: PairScores, params: LossParams) -> Losses:
  """Supervised fine-tuning: the winners' negative log-likelihood per token."""
  del params
  policy, counts = scores.policy, scores.counts
  return {
    'und': pair_margins.sft_loss(policy.mmu, counts.mmu, scores.und_share),
    'gen': pair_margins.sft_loss(policy.t2i, counts.t2i, scores.gen_share),
  }


def ipo(scores: PairScores, params: LossParams) -> Losses:
  """(delta - 1 / (2 beta))^2 (arXiv 2310.12036).

  A margin above the target 1 / (2 beta) is penalized, too.
  """
  return _mean_losses(scores, lambda delta: (delta - 0.5 / params.beta) ** 2)


def hinge(scores: PairScores, params: LossParams) -> Losses:
  """max(0, 1 - beta delta): SLiC's hinge on log-ratios (arXiv 2309.06657)."""
  return _mean_losses(
    scores, lambda delta: jax.nn.relu(1 - params.beta * delta)
  )


def smoothed(scores: PairScores, params: LossParams) -> Losses:
  """DPO with smoothed labels ("conservative" DPO, E. Mitchell, 2023).

  -(1 - e) log sigmoid(beta delta) - e log sigmoid(-beta delta).
  """
  e = params.smoothing

  def loss(delta):
    scaled = params.beta * delta
    return (1 - e) * pair_margins.log_sigmoid_loss(
      scaled
    ) + e * pair_margins.log_sigmoid_loss(-scaled)

  return _mean_losses(scores, loss)


def robust(scores: PairScores, params: LossParams) -> Losses:
  """DPO that stays unbiased if labels are swapped (arXiv 2403.00409).

  (-(1 - e) log sigmoid(beta delta) + e log sigmoid(-beta delta)) / (1 - 2 e).
  """
  e = params.smoothing

  def loss(delta):
    scaled = params.beta * delta
    correct, swapped = (
      pair_margins.log_sigmoid_loss(scaled),
      pair_margins.log_sigmoid_loss(-scaled),
    )
    return ((1 - e) * correct - e * swapped) / (1 - 2 * e)

  return _mean_losses(scores, loss)


def per_token(scores: PairScores, params: LossParams) -> Losses:
  """Pair-DPO with mean log-likelihoods: long texts weigh as much as short."""

  def mean(logps):
    return jax.tree.map(
      lambda a, n: a / jnp.maximum(n, 1), logps, scores.counts
    )

  means = dataclasses.replace(
    scores, policy=mean(scores.policy), reference=mean(scores.reference)
  )
  return pair_dpo(means, params)


def product(scores: PairScores, params: LossParams) -> Losses:
  """-log sigmoid(beta delta_gen beta delta_und) (arXiv 2502.12148, eq. 6).

  The paper prints this form, but the official code does not train it. Its
  gradient is zero if both margins are 0, as when a round starts, and two
  negative margins lower it as much as two positive margins. It is a mean over
  the records that have both pairs.
  """
  und, gen = _margins(scores)
  values = pair_margins.log_sigmoid_loss(params.beta * gen * params.beta * und)
  return {'both': pair_margins.weighted_mean(values, scores.both_share)}


METHODS: dict[str, Callable[[PairScores, LossParams], Losses]] = {
  method.__name__: method
  for method in (
    pair_dpo,
    dpo_understanding,
    dpo_generation,
    sft,
    ipo,
    hinge,
    smoothed,
    robust,
    per_token,
    product,
  )
}


def _margins(scores):
  """Returns caption margins and image margins, float32[B] each."""
  return (
    pair_margins.reward_margins(scores.policy.mmu, scores.reference.mmu),
    pair_margins.reward_margins(scores.policy.t2i, scores.reference.t2i),
  )


def _mean_losses(scores, loss):
  """Averages `loss(delta)` over the pairs, by kind."""
  und, gen = _margins(scores)
  return {
    'und': pair_margins.weighted_mean(loss(und), scores.und_share),
    'gen': pair_margins.weighted_mean(loss(gen), scores.gen_share),
  }
