"""Three seeds of the whole self-play, each beside its control.

  python main.py --config=configs/seeds.py

plays configs/pair_dpo.py:paper with three seeds, measures each on 1,000
held-out scenes, and as a control pretrains the base model on for
as many steps. It writes runs/seeds/table.md, in 55 minutes on two shared CPU
cores (commit 5e239f1). Expected mean changes over seeds (docs/self_play.md has
all tables; a star: beyond chance):

  mean change          understanding   generation        gap
  control since base   -0.002 ± 0.001  +0.004 ± 0.006    -0.006 ± 0.005
  round 3 since base   -0.002 ± 0.002  +0.044 ± 0.009 *  -0.046 ± 0.009 *

  python main.py --config=configs/seeds.py:grpo --workdir=runs/seeds_grpo

does so with configs/pair_dpo.py:grpo (docs/grpo.md). It was not run yet.
"""

import ml_collections

from configs import pair_dpo
from configs import pretrain

VARIANTS = ('paper', 'grpo', 'shapes')  # The last is an earlier name of paper.


def get_config(variant='paper'):
  """Returns settings for `hermesflow_jax.experiments.seeds`."""
  if variant not in VARIANTS:
    raise ValueError(
      f'variant must be one of {", ".join(VARIANTS)}, got {variant!r}'
    )
  config = ml_collections.ConfigDict()
  config.job = 'seeds'

  # Self-play.
  config.self_play = pair_dpo.get_config(variant.replace('shapes', 'paper'))
  del config.self_play.job
  config.seeds = (0, 1, 2)

  # Control: as many rows of each kind as a step learns from.
  play = config.self_play.play
  batches = {'t2i': 2 * play.batch, 'mmu': 2 * play.batch, 'lm': 8}
  if variant == 'grpo':
    batches = {'t2i': play.images * play.batch, 'mmu': 8, 'lm': 8}
  config.control = {
    'scenes': 12_000,
    'batches': batches,
    'mixture': pretrain.get_config().mixture,
  }
  return config
