"""One round of Pair-DPO from pairs that were made before.

  python main.py --config=configs/curate.py
  python main.py --config=configs/learn.py --config.pairs=runs/curate

Several machines can make the pairs, and others learn from them. The trained
model is in runs/learn/model; any job starts from it with
--config.init_from=runs/learn. The second round, after configs/curate.py made
its pairs:

  python main.py --config=configs/learn.py --workdir=runs/learn_2 \\
    --config.round=2 --config.pairs=runs/curate_2 \\
    --config.init_from=runs/learn

The frozen model is the one that a round starts from; --config.reference names
another, e.g. assets:shapes, the base. With Show-o:

  python main.py --config=configs/learn.py:show_o_512 --config.pairs=...
"""

import ml_collections

import configs.pair_dpo

_LEARNING = (
  'objective',
  'compat',
  'caption_prompt',
  'mask_schedule',
  'optim',
  'lora',
  'epochs',
  'batch',
  'label_rows',
  'log_every',
  'save_every',
  'profile_steps',
  'seed',
)


def get_config(variant='shapes'):
  """Returns the settings of `hermesflow_jax.jobs.learn`."""
  config = configs.pair_dpo.get_config(variant)
  play = config.play.to_dict()
  return ml_collections.ConfigDict(
    {'job': 'learn', 'pairs': 'runs/curate', 'round': 1, 'reference': ''}
    | {'sample_every': 0, 'images': '', 'on_error': 'raise'}
    | {'both': play['rules']['both']}
    | configs.pair_dpo.start_of(config)
    | {name: play[name] for name in _LEARNING}
  )
