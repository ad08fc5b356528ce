"""What pairs teach: one small function for each method, all of the same scores.

Every function takes `PairScores` and a `LossParams` and returns losses by what they
are of: 'und' (captions), 'gen' (images), or 'both' where they do not come
apart. Methods that leave out a kind of pairs return nothing of it. With the
margin of a pair in nats,

  delta = (log pi(win) - log ref(win)) - (log pi(lose) - log ref(lose)),

most are a function of beta times delta, averaged over pairs.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.pair_dpo import preferences


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairScores:
  """What is known of a batch of B records.

  Attributes:
    policy, reference: log-likelihoods of both pairs under both models; no
      gradient flows into the reference's.
    counts: tokens that each is a sum over; float32 or int32[B, 2].
    und_share, gen_share: float32[B], what each record adds to a mean over
      its kind of pairs, see `preferences.mean_weights`; None: all the same.
    both_share: the same of the records that have both.
  """

  policy: preferences.PairLogps
  reference: preferences.PairLogps
  counts: preferences.PairLogps
  und_share: jax.Array | None = None
  gen_share: jax.Array | None = None
  both_share: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class LossParams:
  """Numbers of the methods.

  Attributes:
    beta: scale of the margins.
    smoothing: the share of pairs that are taken to be the wrong way round, of
      `smoothed` and `robust`.
  """

  beta: float
  smoothing: float = 0.0


Losses = dict[str, jax.Array]


def pair_dpo(scores: PairScores, strength: LossParams) -> Losses:
  """-log sigmoid(beta delta), of both kinds (arXiv 2502.12148, eq. 12)."""
  return _both(
    scores, lambda delta: preferences.log_sigmoid_loss(strength.beta * delta)
  )


def dpo_understanding(scores: PairScores, strength: LossParams) -> Losses:
  """DPO of captions alone (arXiv 2305.18290)."""
  return {'und': pair_dpo(scores, strength)['und']}


def dpo_generation(scores: PairScores, strength: LossParams) -> Losses:
  """DPO of images alone (arXiv 2305.18290)."""
  return {'gen': pair_dpo(scores, strength)['gen']}


def sft(scores: PairScores, strength: LossParams) -> Losses:
  """The winners' negative log-likelihood per token, of both kinds."""
  del strength
  policy, counts = scores.policy, scores.counts
  return {
    'und': preferences.sft_loss(policy.mmu, counts.mmu, scores.und_share),
    'gen': preferences.sft_loss(policy.t2i, counts.t2i, scores.gen_share),
  }


def ipo(scores: PairScores, strength: LossParams) -> Losses:
  """(delta - 1 / (2 beta))^2 (arXiv 2310.12036).

  A margin has a goal, beyond which it is too large.
  """
  return _both(scores, lambda delta: (delta - 0.5 / strength.beta) ** 2)


def hinge(scores: PairScores, strength: LossParams) -> Losses:
  """max(0, 1 - beta delta): SLiC's hinge on log-ratios (arXiv 2309.06657)."""
  return _both(scores, lambda delta: jax.nn.relu(1 - strength.beta * delta))


def smoothed(scores: PairScores, strength: LossParams) -> Losses:
  """DPO with smoothed labels ("conservative" DPO, E. Mitchell's note of 2023).

  -(1 - e) log sigmoid(beta delta) - e log sigmoid(-beta delta).
  """
  e = strength.smoothing

  def one(delta):
    scaled = strength.beta * delta
    return (1 - e) * preferences.log_sigmoid_loss(
      scaled
    ) + e * preferences.log_sigmoid_loss(-scaled)

  return _both(scores, one)


def robust(scores: PairScores, strength: LossParams) -> Losses:
  """DPO that noise in the labels does not bias (arXiv 2403.00409).

  (-(1 - e) log sigmoid(beta delta) + e log sigmoid(-beta delta)) / (1 - 2 e).
  """
  e = strength.smoothing

  def one(delta):
    scaled = strength.beta * delta
    right, wrong = (
      preferences.log_sigmoid_loss(scaled),
      preferences.log_sigmoid_loss(-scaled),
    )
    return ((1 - e) * right - e * wrong) / (1 - 2 * e)

  return _both(scores, one)


def per_token(scores: PairScores, strength: LossParams) -> Losses:
  """Pair-DPO of mean log-likelihoods: long texts weigh as much as short."""

  def mean(logps):
    return jax.tree.map(
      lambda a, n: a / jnp.maximum(n, 1), logps, scores.counts
    )

  means = dataclasses.replace(
    scores, policy=mean(scores.policy), reference=mean(scores.reference)
  )
  return pair_dpo(means, strength)


def product(scores: PairScores, strength: LossParams) -> Losses:
  """-log sigmoid(beta delta_gen beta delta_und) (arXiv 2502.12148, eq. 6).

  As printed, and as nobody trains it: it has no gradient where both margins
  are 0, as at the start of a round, and two that are both below 0 please it.
  It is a mean over the records that have both pairs.
  """
  und, gen = _margins(scores)
  values = preferences.log_sigmoid_loss(
    strength.beta * gen * strength.beta * und
  )
  return {'both': preferences.valid_mean(values, scores.both_share)}


METHODS: dict[str, Callable[[PairScores, LossParams], Losses]] = {
  each.__name__: each
  for each in (
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
  """(delta of captions, delta of images), float32[B]."""
  return (
    preferences.reward_margins(scores.policy.mmu, scores.reference.mmu),
    preferences.reward_margins(scores.policy.t2i, scores.reference.t2i),
  )


def _both(scores, one):
  """The means of a function of the margin, of both kinds."""
  und, gen = _margins(scores)
  return {
    'und': preferences.valid_mean(one(und), scores.und_share),
    'gen': preferences.valid_mean(one(gen), scores.gen_share),
  }
