"""Which part of Pair-DPO matters: arms beside each other, with three seeds.

  python main.py --config=configs/ablation.py

compares DPO of either task alone, SFT on the winners and rounds of Pair-DPO,
as table 5 of HermesFlow (arXiv 2502.12148), on the embedded world: the same
candidates, pairs, steps and scenes for all, a learning rate for each arm that
is searched on other scenes. Other losses; and one setting after the other, or
one alone (a name of SWEEPS):

  python main.py --config=configs/ablation.py:methods
  python main.py --config=configs/ablation.py:settings
  python main.py --config=configs/ablation.py:beta
"""

import ml_collections

from configs import pair_dpo

# Tables of one setting each.
SWEEPS = (
    'rounds', 'candidates', 'beta', 'learning_rate', 'masks', 'least_winner',
    'least_margin', 'pairs_wanted', 'reference', 'scorer_of_images',
)
VARIANTS = ('table5', 'methods', 'settings', *SWEEPS)


def get_config(variant='table5'):
  """Returns the settings of `hermesflow_jax.jobs.ablation`."""
  if variant not in VARIANTS:
    raise ValueError(f'variant {variant!r}, wanted {", ".join(VARIANTS)}')
  play = pair_dpo.get_config()
  del play.job
  config = {
      'job': 'ablation', 'variant': variant, 'self_play': play,
      'seeds': (0, 1, 2), 'against': 'pair_dpo', 'sweeps': (),
      'search_scenes': 1_000,
  }
  if variant == 'table5':
    config['arms'] = table5()
  elif variant == 'methods':
    play.play.rounds = 1
    config['arms'] = methods()
  else:
    arms, sweeps = settings(SWEEPS if variant == 'settings' else (variant,))
    # They differ in one thing, and learn in as many steps.
    play.play.rounds = max(arm['changes']['rounds'] for arm in arms)
    play.play.images = max(arm['changes']['images'] for arm in arms)
    play.play.update({'epochs': 0.0})
    play.play.optim.steps = 80
    config['arms'], config['sweeps'] = arms, sweeps
  return ml_collections.ConfigDict(config)


def arm(
    name, label, scorer='self', rounds=1, rates=(5e-5, 1e-4, 2e-4), **changes
):
  """Returns an arm."""
  return {
      'name': name, 'label': label, 'scorer': scorer, 'rates': rates,
      'changes': {'rounds': rounds} | changes,
  }


def method(name, label, loss, **objective):
  """Returns an arm with another loss."""
  return arm(name, label, objective={'method': loss} | objective)


def table5():
  """Returns the arms of the paper's table 5, and SFT."""
  return (
      method('dpo_understanding', 'DPO, understanding', 'dpo_understanding'),
      method('dpo_generation', 'DPO, generation', 'dpo_generation'),
      method(
          'sft', 'SFT on winners', 'sft', und_weight=0.5, gen_weight=2.0,
          und_sft_weight=0.0, gen_sft_weight=0.0,
      ),
      arm('pair_dpo', 'Pair-DPO', rounds=3),
  )


def methods():
  """Returns arms with other losses, and adapters."""
  return (
      arm('pair_dpo', 'Pair-DPO'),
      method(
          'alone', 'without SFT terms', 'pair_dpo', und_sft_weight=0.0,
          gen_sft_weight=0.0,
      ),
      method('ipo', 'IPO', 'ipo'),
      method('hinge', 'hinge', 'hinge'),
      method('smoothed', 'smoothed, 0.1', 'smoothed', smoothing=0.1),
      method('robust', 'robust, 0.1', 'robust', smoothing=0.1),
      # A mean over some ten codes, and words, in place of their sum.
      method('per_token', 'per token', 'per_token', beta=20.0),
      method('product', 'product (eq. 6)', 'product'),
      arm('lora', 'LoRA, rank 8', rates=(5e-4, 1e-3, 2e-3), lora={'rank': 8}),
  )


def settings(names):
  """Returns arms that differ from Pair-DPO in one setting, and their sweeps.

  Args:
    names: of SWEEPS.
  """
  arms, sweeps = {}, {}

  def add(title, at, name='pair_dpo', number=1, scorer='self', **changes):
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
  sweep('candidates', 4, (2, 4, 8, 16), lambda n: {'images': n})
  sweep('beta', 2, (0.2, 0.5, 2, 5, 10),
        lambda beta: {'objective': {'beta': float(beta)}})
  sweep('learning rate', 1e-4, (1.25e-5, 2.5e-5, 5e-5, 1e-4, 2e-4),
        lambda lr: {'optim': {'lr': lr}})
  sweep('masks', 4, (1, 2, 4, 8), lambda n: {'objective': {'masks': n}})
  sweep('least winner', 0.6, (0.0, 0.6, 0.8, 0.9),
        lambda least: {'rules': {'least_win': least}})
  sweep('least margin', 0.0, (0.0, 0.3, 0.5),
        lambda least: {'rules': {'least_margin': least}})
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
