"""Arms of the ablation (configs/ablation.py): changes under a name."""

# Steps and learning rate of all arms of a sweep, unless the sweep changes
# them; the rate is the choice of table5's search.
STEPS, LR = 80, 5e-5
# Tables in which one setting changes.
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
# Learning rates of a search. SFT needs larger steps than DPO, LoRA (a product
# of two small matrices) larger ones still.
RATES = (2.5e-5, 5e-5, 1e-4)
SFT_RATES = (1e-4, 2e-4, 4e-4)
LORA_RATES = (2e-4, 5e-4, 1e-3)
# The paper's Pair-DPO has no SFT terms; ours on the embedded world has.
WITHOUT_SFT = {'und_sft_weight': 0.0, 'gen_sft_weight': 0.0}


def most(setting, arms):
  """Returns the largest value for a setting that all arms change."""
  return max(arm['changes'][setting] for arm in arms)


def arm(name, label, scorer='self', rounds=1, rates=RATES, **changes):
  """Returns an arm: changes to self-play's settings, under a name."""
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


def sft():
  """Returns the SFT arm, weighted as the SFT terms in our Pair-DPO."""
  return method(
    'sft',
    'SFT on winners',
    'sft',
    SFT_RATES,
    und_weight=0.5,
    gen_weight=2.0,
    **WITHOUT_SFT,
  )


def table5():
  """Returns the arms in the paper's table 5, and SFT."""
  return (
    method('dpo_understanding', 'DPO, understanding', 'dpo_understanding'),
    method('dpo_generation', 'DPO, generation', 'dpo_generation'),
    sft(),
    arm('pair_dpo', 'Pair-DPO', rounds=3),
  )


def methods():
  """Returns arms with other losses, and LoRA.

  DPO at beta 2 still pushes margins beyond 1 nat, with a force that falls. IPO
  at beta 0.5 and the hinge at beta 1 aim at a margin of 1 nat.
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
    # A mean over some 12 masked codes and some 6 words, in place of the sum:
    # as strong as a beta of 1.6 for images and of 3.5 for captions.
    method('per_token', 'per token, beta 20', 'per_token', beta=20.0),
    method('product', 'product (eq. 6)', 'product'),
    method(
      'product_alone', 'product (eq. 6), no SFT terms', 'product', **WITHOUT_SFT
    ),
    arm('lora', 'LoRA, rank 8', rates=LORA_RATES, lora={'rank': 8}),
  )


def recipe():
  """Returns two arms: the default, and three changes to it together.

  No change alone gained on the scenes in `settings`, and none lost. Together
  they are tried once, on other scenes.
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


def image_scorers():
  """Returns arms that score candidate images in different ways, and a sweep.

  Soft scores and likelihoods of two images differ by a little even where both
  images are right, so some arms have a threshold or a margin.
  """
  arms = [
    arm('pair_dpo', 'answers', rates=(), images=4),
    scored('soft', 'winner over 0.6', least_win=0.6),
    scored('soft', 'winner over 0.9', least_win=0.9),
    scored('soft', 'margin 0.05', least_margin=0.05),
    scored('soft', 'margin 0.2', least_margin=0.2),
    scored('caption_likelihood'),
    scored('caption_likelihood', 'margin 0.3', least_margin=0.3),
    scored('image_likelihood'),
    arm('judge', 'judge (upper bound)', 'judge', rates=(), images=4),
  ]
  points = [{'at': a['label'], 'arm': a['name'], 'round': 1} for a in arms]
  return tuple(arms), ({'title': 'image scorer', 'points': tuple(points)},)


def scored(scorer, rule='', **rules):
  """Returns an arm with an image scorer and changed rules of pairs."""
  label = ', '.join(filter(None, (scorer.replace('_', ' '), rule)))
  name = label.replace(', ', '_').replace(' ', '_').replace('.', '_')
  return arm(name, label, rates=(), images=4, image_scorer=scorer, rules=rules)


def settings(names):
  """Returns arms that differ from Pair-DPO in one setting, and their sweeps.

  Args:
    names: sweeps, names in SWEEPS.

  Returns:
    (arms, sweeps): an arm may be a point in several sweeps.
  """
  arms, sweeps = {}, {}

  def add(title, at, name='pair_dpo', number=1, scorer='self', **changes):
    """Adds an arm and, as a point in a sweep, its round `number`."""
    if title.replace(' ', '_') not in names:
      return
    label = 'Pair-DPO' if name == 'pair_dpo' else f'{title} {at}'
    changes = {'images': 4} | changes
    known = arms.setdefault(
      name, arm(name, label, scorer, number, (), **changes)
    )
    known['changes']['rounds'] = max(known['changes']['rounds'], number)
    sweeps.setdefault(title, []).append(
      {'at': str(at), 'arm': name, 'round': number}
    )

  def sweep(title, default, values, changes):
    """Adds a point for each value; the default's is Pair-DPO."""
    for value in values:
      if value == default:
        add(title, f'{value:g}')
      else:
        name = f'{title}_{value:g}'.replace(' ', '_').replace('.', '_')
        add(title, f'{value:g}', name.replace('-', '_'), **changes(value))

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
  # A scene has two to five questions: above 0.8 the only score is 1.
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
  # From the second round on the start of the round is not the base model.
  add('reference', 'start of the round', number=2)
  add('reference', 'base', 'reference_base', 2, reference='base')
  add('scorer of images', 'itself')
  add('scorer of images', 'judge (upper bound)', 'judge', scorer='judge')
  return tuple(arms.values()), tuple(
    {'title': title, 'points': tuple(points)}
    for title, points in sweeps.items()
  )
