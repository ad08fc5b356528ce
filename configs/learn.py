r"""A round of Pair-DPO on pairs that `configs/curate.py` made.

  python main.py --config=configs/curate.py
  python main.py --config=configs/learn.py --config.pairs=runs/curate

takes under a minute on two CPU cores. Several machines can make the pairs, and
others learn from them. The trained model is in runs/learn/model; every job
starts from it with --config.init_from=runs/learn. The second round, after
configs/curate.py made its pairs:

  python main.py --config=configs/learn.py --workdir=runs/learn_2 \
    --config.round=2 --config.pairs=runs/curate_2 \
    --config.init_from=runs/learn

The frozen model is the start of the round; --config.reference names another,
e.g. assets:shapes, the base model. GRPO measures its divergence from it, and
needs an objective.kl_weight. Variants as in
`configs/pair_dpo.py`, e.g. with Show-o's weights:

  python main.py --config=configs/learn.py:show_o_512 --config.pairs=...
"""

import ml_collections

from configs import pair_dpo

# Settings that a round learns with; configs/pair_dpo.py explains them.
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
  """Returns settings for `hermesflow_jax.jobs.learn`."""
  main_config = pair_dpo.get_config(variant)
  play = main_config.play.to_dict()
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'learn'
  config.vision = ''  # CLIP tower of a model with w_clip_vit.

  # Data.
  config.pairs = 'runs/curate'
  config.both = play['rules']['both']  # Inputs with both pairs alone.
  config.images = ''  # Folder of the images of an official file of pairs.
  # Of an official file: a winning image scores more than this (paper).
  config.least_win = play['rules']['least_win']
  config.on_error = 'raise'

  # Learning.
  config.round = 1
  config.reference = ''  # The frozen model; '': the start of the round.
  config.update({name: play[name] for name in _LEARNING})

  # Logging, beside `log_every` and `save_every`.
  config.sample_every = 0
  return config
