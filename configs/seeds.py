"""Three seeds of the whole self-play, each beside its control.

  python main.py --config=configs/seeds.py

plays the embedded default of configs/pair_dpo.py with three seeds, measured
on 1,000 held-out scenes each, and pretrains the base model on for as many
steps as a control. Writes runs/seeds/table.md.
"""

import ml_collections

import configs.pair_dpo
import configs.pretrain


def get_config():
  """Returns the settings of `hermesflow_jax.experiments.seeds`."""
  play = configs.pair_dpo.get_config()
  del play.job
  return ml_collections.ConfigDict(
    {
      'job': 'seeds',
      'self_play': play,
      'seeds': (0, 1, 2),
      'control': {
        'scenes': 12_000,
        # As many rows of each kind as the pairs of a step have.
        'batches': {
          't2i': 2 * play.play.batch,
          'mmu': 2 * play.play.batch,
          'lm': 8,
        },
        'mixture': configs.pretrain.get_config().mixture,
      },
    }
  )
