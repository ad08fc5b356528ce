"""Ablation of Pair-DPO: arms from the same candidates, with three seeds each.

  python main.py --config=configs/ablation.py

compares DPO on either task alone, SFT on the winners and Pair-DPO rounds, as
HermesFlow (arXiv 2502.12148) does in table 5, on the embedded world. All
arms have the same candidates, pairs, steps and scenes; each has its own
learning rate, searched on scenes from the preference split. Variants
(--config=configs/ablation.py:<variant>), with minutes on two shared CPU cores:

  variant   compares                                       minutes  commit
  table5    the arms in table 5, and SFT                   48       800a4be
  methods   other losses, SFT terms, LoRA                  97       c6b15f8
  settings  all sweeps                                     135      c6b15f8
  recipe    three changes together beside the default, on  > 92     958315f
            scenes that were not used for model selection
  beta ...  a sweep alone: a name in ablation_arms.SWEEPS
  image_scorers
            scorers of images; with a single seed          26       ab55536
  beyond    Pair-DPO, answers, GRPO, each with search
  one_round the first of the four rounds of beyond         130      8b6cbf7
  colors    what may bind colors to objects; with a seed  53       451c079
  rewards   rewards of GRPO

Expected in table5, mean changes since the base model (docs/evidence.md has all
tables; a star: beyond chance):

  arm                understanding     generation        gap
  DPO, understanding -0.002 ± 0.001    -0.007 ± 0.007    +0.006 ± 0.007
  DPO, generation    -0.001 ± 0.001    +0.044 ± 0.009 *  -0.045 ± 0.008 *
  SFT on winners     -0.002 ± 0.002    +0.022 ± 0.007 *  -0.024 ± 0.007 *
  Pair-DPO, round 3  -0.001 ± 0.001    +0.051 ± 0.007 *  -0.052 ± 0.007 *

Results go to `runs/ablation/<variant>`.
"""

import ml_collections

from configs import ablation_arms
from configs import group_arms
from configs import pair_dpo
from configs import show_o

VARIANTS = (
  'table5',
  'methods',
  'settings',
  'recipe',
  'image_scorers',
  'beyond',
  'one_round',
  'colors',
  'rewards',
  *ablation_arms.SWEEPS,
)


def get_config(variant='table5'):
  """Returns settings for `hermesflow_jax.experiments.ablation`."""
  if variant not in VARIANTS:
    raise ValueError(
      f'variant must be one of {", ".join(VARIANTS)}, got {variant!r}'
    )
  config = ml_collections.ConfigDict()
  config.job = 'ablation'
  config.variant = variant
  config.command = f'python main.py --config=configs/ablation.py:{variant}'

  # Self-play: settings that all arms share.
  config.self_play = pair_dpo.get_config('paper')
  del config.self_play.job
  # The tables split the held-out scenes by new and known captions instead.
  config.self_play.unseen = 0
  config.seeds = (0, 1, 2)

  # Arms: the others are compared with `against`.
  config.against = 'pair_dpo'
  config.sweeps = ()
  if variant == 'table5':
    config.arms = ablation_arms.table5()
  elif variant == 'methods':
    config.arms = ablation_arms.methods()
    config.self_play.play.rounds = 1
  elif variant == 'recipe':
    config.arms = ablation_arms.recipe()
    config.self_play.held_out_split = 'final'
    config.self_play.play.images = ablation_arms.most('images', config.arms)
  elif variant in ('beyond', 'one_round', 'colors', 'rewards'):
    use_groups(config, variant)
  else:
    if variant == 'image_scorers':
      config.arms, config.sweeps = ablation_arms.image_scorers()
    else:
      names = ablation_arms.SWEEPS if variant == 'settings' else (variant,)
      config.arms, config.sweeps = ablation_arms.settings(names)
    play = config.self_play.play
    play.rounds = ablation_arms.most('rounds', config.arms)
    play.images = ablation_arms.most('images', config.arms)
    play.epochs = 0.0  # Steps alone end a round.
    play.optim.steps = ablation_arms.STEPS
    play.optim.lr = ablation_arms.LR

  # Search of learning rates: scenes of the preference split.
  config.search_scenes = 1_000
  return config


def use_groups(config, variant):
  """Changes the config to arms beside which GRPO stands.

  All arms have the same inputs, images and rounds, so they draw as much.
  """
  play = config.self_play.play
  play.images = 8
  # GRPO's faster setting; it changes no result.
  play.label_rows = 64
  # Epochs end a round: arms have as many passes as they need.
  play.optim.steps = 1_000
  if variant in ('beyond', 'one_round'):
    config.arms = group_arms.beyond(4 if variant == 'beyond' else 1)
    play.rounds = ablation_arms.most('rounds', config.arms)
    config.image_search = show_o.search()
    config.image_search.update(
      {'candidates': 8, 'score': 'answers', 'wave': 1, 'enough': 1.0}
    )
  else:
    config.arms = getattr(group_arms, variant)()
    config.against = config.arms[0]['name']
    play.rounds = 1
    play.images = ablation_arms.most('images', config.arms)
