"""Arms of a small comparison, and its seeds."""

import configs.ablation_arms
from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.runtime import settings

SEEDS = (3, 4)
LABELS = {'images': 'DPO, images', 'pair_dpo': 'Pair-DPO'}


def arm(name, rates=(), **changes) -> comparison_arms.Arm:
  """Returns an arm with these rates and changes of settings."""
  values = configs.ablation_arms.arm(name, LABELS.get(name, name), **changes)
  values |= {'rates': rates}
  return settings.build(comparison_arms.Arm, values)
