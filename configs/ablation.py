"""Which part of Pair-DPO matters: arms beside each other, with three seeds.

  python main.py --config=configs/ablation.py

compares DPO of either task alone, SFT on the winners and rounds of Pair-DPO,
as table 5 of HermesFlow (arXiv 2502.12148), on the embedded world: the same
candidates, pairs, steps and scenes for all, a learning rate for each arm that
is searched on scenes of the preference split. Other losses; one setting after
the other, or one alone (a name of SWEEPS); and three changes together beside
the default, on scenes that nothing was chosen by:

  python main.py --config=configs/ablation.py:methods
  python main.py --config=configs/ablation.py:settings
  python main.py --config=configs/ablation.py:beta
  python main.py --config=configs/ablation.py:recipe

docs/evidence.md has their results and times; each writes into a folder of its
own, `runs/ablation/<variant>`.
"""

import ml_collections

import configs.pair_dpo

# Of the arms of a sweep, which differ in one thing.
STEPS, LR = 80, 5e-5
# Tables of one setting each.
SWEEPS = (
  'rounds',
  'candidates',
  'beta',
  'learning_rate',
  'masks',
  'least_winner',
  'least_margin',
  'pairs_wanted',
  'reference',
  'scorer_of_images',
)
VARIANTS = ('table5', 'methods', 'settings', 'recipe', *SWEEPS)
# What a search tries. The likelihoods of SFT want larger steps, adapters of a
# product of two small matrices larger ones still.
RATES, SFT_RATES, LORA_RATES = (
  (2.5e-5, 5e-5, 1e-4),
  (1e-4, 2e-4, 4e-4),
  (2e-4, 5e-4, 1e-3),
)


def get_config(variant='table5'):
  """Returns the settings of `hermesflow_jax.experiments.ablation`."""
  if variant not in VARIANTS:
    raise ValueError(f'variant {variant!r}, wanted {", ".join(VARIANTS)}')
  play = configs.pair_dpo.get_config()
  del play.job
  # Its tables have the held-out scenes by whether their caption is new.
  play.unseen = 0
  config = {
    'job': 'ablation',
    'variant': variant,
    'self_play': play,
    'command': f'python main.py --config=configs/ablation.py:{variant}',
    'seeds': (0, 1, 2),
    'against': 'pair_dpo',
    'sweeps': (),
    'search_scenes': 1_000,
  }
  if variant == 'table5':
    config['arms'] = table5()
  elif variant == 'methods':
    play.play.rounds = 1
    config['arms'] = methods()
  elif variant == 'recipe':
    play.held_out_split = 'final'
    config['arms'] = recipe()
    play.play.images = max(arm['changes']['images'] for arm in config['arms'])
  else:
    arms, sweeps = settings(SWEEPS if variant == 'settings' else (variant,))
    # They differ in one thing, and learn in as many steps.
    play.play.rounds = max(arm['changes']['rounds'] for arm in arms)
    play.play.images = max(arm['changes']['images'] for arm in arms)
    play.play.update({'epochs': 0.0})
    play.play.optim.steps = STEPS
    # What the search of table5 chose.
    play.play.optim.lr = LR
    config['arms'], config['sweeps'] = arms, sweeps
  return ml_collections.ConfigDict(config)


def arm(name, label, scorer='self', rounds=1, rates=RATES, **changes):
  """Returns an arm."""
  return {
    'name': name,
    'label': label,
    'scorer': scorer,
    'rates': rates,
    'changes': {'rounds': rounds} | changes,
  }


def method(name, label, loss, rates=RATES, **objective):
  """Returns an arm with another loss."""
  return arm(name, label, rates=rates, objective={'method': loss} | objective)


def table5():
  """Returns the arms of the paper's table 5, and SFT."""
  return (
    method('dpo_understanding', 'DPO, understanding', 'dpo_understanding'),
    method('dpo_generation', 'DPO, generation', 'dpo_generation'),
    sft(),
    arm('pair_dpo', 'Pair-DPO', rounds=3),
  )


# Pair-DPO has these terms on the embedded world; the paper has none.
WITHOUT_SFT = {'und_sft_weight': 0.0, 'gen_sft_weight': 0.0}


def sft():
  """Returns the arm of SFT, with the weights of Pair-DPO's own SFT terms."""
  return method(
    'sft',
    'SFT on winners',
    'sft',
    SFT_RATES,
    und_weight=0.5,
    gen_weight=2.0,
    **WITHOUT_SFT,
  )


def methods():
  """Returns arms with other losses, and adapters.

  DPO at beta 2 goes on to push margins beyond 1 nat, if less and less: IPO and
  the hinge have that goal.
  """
  return (
    arm('pair_dpo', 'Pair-DPO'),
    method('alone', 'Pair-DPO, no SFT terms', 'pair_dpo', **WITHOUT_SFT),
    method('dpo_generation', 'DPO, generation', 'dpo_generation'),
    method(
      'generation_alone',
      'DPO, generation, no SFT terms',
      'dpo_generation',
      **WITHOUT_SFT,
    ),
    sft(),
    method('ipo', 'IPO, beta 0.5', 'ipo', beta=0.5),
    method('hinge', 'hinge, beta 1', 'hinge', beta=1.0),
    method('smoothed', 'smoothed, 0.1', 'smoothed', smoothing=0.1),
    method('robust', 'robust, 0.1', 'robust', smoothing=0.1),
    # A mean over some 12 hidden codes and some 6 words, in place of the sum:
    # as strong as a beta of 1.6 for images and of 3.5 for captions.
    method('per_token', 'per token, beta 20', 'per_token', beta=20.0),
    method('product', 'product (eq. 6)', 'product'),
    method(
      'product_alone', 'product (eq. 6), no SFT terms', 'product', **WITHOUT_SFT
    ),
    arm('lora', 'LoRA, rank 8', rates=LORA_RATES, lora={'rank': 8}),
  )


def recipe():
  """Returns the default, and three changes that did no worse, together.

  None of its parts stood alone on the scenes of `settings`; together they are
  tried once, on others.
  """
  return (
    arm('pair_dpo', 'default', rounds=3, rates=(), images=4),
    arm(
      'together',
      'together',
      rounds=3,
      rates=(),
      images=8,
      optim={'lr': LR},
      objective={'beta': 5.0},
    ),
  )


def settings(names):
  """Returns arms that differ from Pair-DPO in one setting, and their sweeps.

  Args:
    names: of SWEEPS.
  """
  arms, sweeps = {}, {}

  def add(title, at, name='pair_dpo', number=1, scorer='self', **changes):
    # `number` is of the round that the row shows.
    if title.replace(' ', '_') not in names:
      return
    label = 'Pair-DPO' if name == 'pair_dpo' else f'{title} {at}'
    changes = {'images': 4} | changes
    made = arms.setdefault(
      name, arm(name, label, scorer, number, (), **changes)
    )
    made['changes']['rounds'] = max(made['changes']['rounds'], number)
    sweeps.setdefault(title, []).append(
      {'at': str(at), 'arm': name, 'round': number}
    )

  def sweep(title, default, values, make):
    for value in values:
      if value == default:
        add(title, f'{value:g}')
      else:
        name = f'{title}_{value:g}'.replace(' ', '_').replace('.', '_')
        add(title, f'{value:g}', name.replace('-', '_'), **make(value))

  add('rounds', 1)
  add('rounds', 2, number=2)
  add('rounds', 3, number=3)
  # As many steps as two rounds, from the first candidates alone.
  add('rounds', '1, twice the steps', 'twice', optim={'steps': 2 * STEPS})
  sweep('candidates', 4, (2, 4, 8, 16), lambda n: {'images': n})
  sweep(
    'beta',
    2,
    (0.2, 0.5, 2, 5),
    lambda beta: {'objective': {'beta': float(beta)}},
  )
  sweep(
    'learning rate',
    LR,
    (1.25e-5, 2.5e-5, LR, 1e-4, 2e-4),
    lambda lr: {'optim': {'lr': lr}},
  )
  sweep('masks', 4, (1, 2, 4, 8), lambda n: {'objective': {'masks': n}})
  # A scene has two to five questions: above 0.8 there is 1 alone.
  sweep(
    'least winner',
    0.6,
    (0.0, 0.6, 0.7, 0.9),
    lambda least: {'rules': {'least_win': least}},
  )
  sweep(
    'least margin',
    0.0,
    (0.0, 0.3, 0.5),
    lambda least: {'rules': {'least_margin': least}},
  )
  add('pairs wanted', 'both')
  add('pairs wanted', 'either', 'either', rules={'both': False})
  # The second round has a start of its own to refer to.
  add('reference', 'start of the round', number=2)
  add('reference', 'base', 'reference_base', 2, reference='base')
  add('scorer of images', 'itself')
  add('scorer of images', 'judge (upper bound)', 'judge', scorer='judge')
  return tuple(arms.values()), tuple(
    {'title': title, 'points': tuple(points)}
    for title, points in sweeps.items()
  )
