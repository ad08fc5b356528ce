"""The official pairs by their log-likelihoods, and losses of such pairs."""

import jax.numpy as jnp

from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.pair_dpo import pair_margins


def logps(golden, model):
  """Returns the official PairValues: four t2i pairs and three mmu pairs.

  Args:
    golden: arrays of the official Show-o.
    model: 'policy' or 'reference'.
  """

  def pair(task):
    sides = [golden[f'logp_{model}_{task}_{s}'] for s in ('win', 'lose')]
    return jnp.stack(sides, axis=-1)

  return pair_margins.PairValues(pair('t2i'), pair('mmu'))


def loss(policy, reference, und_valid=None, gen_valid=None, **objective):
  """Returns (loss, metrics) of PairValues, as training computes it."""
  und_share, gen_share = (
    None if valid is None else pair_margins.mean_weights(valid)
    for valid in (und_valid, gen_valid)
  )
  scores = methods.PairScores(
    policy, reference, und_share=und_share, gen_share=gen_share
  )
  return pair_loss.preference_loss(
    scores, objective_config.ObjectiveConfig(**objective)
  )
