"""One round of Pair-DPO from pairs that were made before.

  python main.py --config=configs/curate.py
  python main.py --config=configs/learn.py --config.pairs=runs/curate

Several machines can make the pairs, and others learn from them. The trained
model is in runs/learn/model; any job starts from it with
--config.init_from=runs/learn. With Show-o:

  python main.py --config=configs/learn.py:show_o_512 --config.pairs=...
"""

import ml_collections

from configs import pair_dpo

_LEARNING = (
    'objective', 'compat', 'mask_schedule', 'optim', 'lora', 'epochs', 'batch',
    'label_rows', 'log_every', 'save_every', 'profile_steps', 'seed',
)


def get_config(variant='shapes'):
  """Returns the settings of `hermesflow_jax.jobs.learn`."""
  config = pair_dpo.get_config(variant)
  play = config.play.to_dict()
  return ml_collections.ConfigDict(
      {'job': 'learn', 'pairs': 'runs/curate', 'sample_every': 0}
      | {'both': play['rules']['both']}
      | pair_dpo.start_of(config)
      | {name: play[name] for name in _LEARNING}
  )
