"""Arms of the ablation beside GRPO: answers, and the colors of objects."""

from configs import ablation_arms
from configs import groups


def grpo(
  name='grpo',
  label='GRPO, images',
  rounds=1,
  scorer='self',
  image_scorer='answers',
  optim=None,
  **objective,
):
  """Returns an arm of GRPO on images (docs/grpo.md), with changes."""
  changes = groups.grpo()
  changes['objective'] |= objective
  changes['optim'] = optim or changes['optim']
  if image_scorer != 'answers':
    changes['image_scorer'] = image_scorer
  return ablation_arms.arm(
    name, label, scorer, rounds=rounds, rates=(), **changes
  )


def rewards():
  """Returns arms of GRPO with different rewards of an image."""
  return (
    grpo(label='answers'),
    grpo('unscaled', 'answers, not scaled', scale_rewards=False),
    grpo('soft', 'soft answers', image_scorer='soft'),
    grpo(
      'soft_unscaled',
      'soft answers, not scaled',
      image_scorer='soft',
      scale_rewards=False,
    ),
    grpo(
      'caption_likelihood',
      'likelihood of the caption',
      image_scorer='caption_likelihood',
    ),
    grpo('judge', 'judge (upper bound)', scorer='judge'),
  )


def beyond(rounds):
  """Returns Pair-DPO and GRPO on the same inputs, with answers and without."""
  answers = {'questions': 8, 'confidence': 0.9, 'unsure_share': 0.5}

  def pairs(name, label, **objective):
    return ablation_arms.arm(
      name, label, rounds=rounds, rates=(), images=8, objective=objective
    )

  return (
    pairs('pair_dpo', 'Pair-DPO'),
    pairs('answers', 'Pair-DPO, answers', answers={'weight': 10.0} | answers),
    grpo(rounds=rounds),
    grpo('grpo_both', 'GRPO, images and captions', rounds, und_weight=1.0),
    grpo(
      'grpo_answers',
      'GRPO, images, answers',
      rounds,
      answers={'weight': 50.0} | answers,
    ),
  )


def colors():
  """Returns arms that may bind colors to objects, with one change each.

  All learn from images alone: the pairs of all inputs that have one.
  """
  images = {'method': 'dpo_generation'}
  sft_alone = {'method': 'sft', 'und_weight': 0.0} | ablation_arms.WITHOUT_SFT

  def changed(name, label, scorer='self', objective=images, rate=1e-4, **other):
    return ablation_arms.arm(
      name,
      label,
      scorer,
      rates=(),
      rules={'both': False},
      objective=objective,
      optim={'lr': rate},
      **{'images': 8} | other,
    )

  def sft_of(name, label, scorer='self', **other):
    return changed(name, label, scorer, sft_alone, 3e-4, **other)

  return (
    changed('pair_dpo', 'DPO, best and worst of 8'),
    changed('masks', '16 masks', objective=images | {'masks': 16}),
    changed(
      'noisy', 'noisy masks', objective=images | {'mask_progress': (0.0, 0.5)}
    ),
    # Embeddings and head are frozen.
    changed('adapters', 'LoRA, rank 64', rate=1e-3, lora={'rank': 64}),
    changed('best16', 'best and worst of 16', images=16),
    changed('real', 'real image over the worst of 8', 'real'),
    sft_of('sft_best16', 'SFT on the best of 16', images=16),
    sft_of('sft_real', 'SFT on real images', 'real'),
    sft_of(
      'sft_real_long', 'SFT on real images, 16 epochs', 'real', epochs=16.0
    ),
    grpo(mask_progress=(0.0, 0.5), optim={'lr': 3e-4}),
  )
