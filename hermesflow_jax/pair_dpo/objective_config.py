"""Settings for the loss on preference pairs."""

import dataclasses
import typing

from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.runtime import settings

# METHODS is read at each check, as programs may add their own methods to it.
_METHOD = dataclasses.replace(
  settings.one_of(*methods.METHODS), holds=lambda name: name in methods.METHODS
)


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """Settings for the loss.

  Attributes:
    method: a key in `methods.METHODS`.
    beta: see `methods.LossParams`.
    smoothing: see `methods.LossParams`.
    und_weight: weight for the method's caption loss.
    gen_weight: weight for the method's image loss.
    und_sft_weight: weight for the winning captions' negative log-likelihood per
      token, added to methods that learn from captions.
    gen_sft_weight: the same for images.
    masks: J, random masks per pair; their log-likelihoods are averaged.
    drop_condition: probability that an image pair has the empty text.
    fixed_masks: whether a pair keeps its masks for a whole round, so that the
      reference scores it once, before the round. Otherwise each step samples
      new masks.
  """

  method: typing.Annotated[str, _METHOD] = 'pair_dpo'
  beta: settings.PositiveFloat = 0.2
  smoothing: typing.Annotated[float, settings.between(0, 0.49)] = 0.0
  und_weight: settings.NonNegativeFloat = 1.0
  gen_weight: settings.NonNegativeFloat = 1.0
  und_sft_weight: settings.NonNegativeFloat = 0.0
  gen_sft_weight: settings.NonNegativeFloat = 0.0
  masks: settings.PositiveInt = 1
  drop_condition: settings.Fraction = 0.1
  fixed_masks: bool = False

  def __post_init__(self):
    settings.check(self)
    if bool(self.smoothing) != (self.method in ('smoothed', 'robust')):
      raise ValueError(
        'smoothing must be above 0 with methods smoothed and robust, else 0, '
        f'got {self.smoothing} with method {self.method}'
      )
    if self.method == 'sft' and self.und_sft_weight + self.gen_sft_weight:
      raise ValueError(
        'und_sft_weight and gen_sft_weight must be 0 with method sft, got '
        f'{self.und_sft_weight} and {self.gen_sft_weight}: use und_weight and '
        'gen_weight'
      )
    weights = self.und_weight, self.gen_weight
    if self.method == 'product' and weights != (1, 1):
      raise ValueError(
        'und_weight and gen_weight must be 1 with method product, got '
        f'{self.und_weight} and {self.gen_weight}'
      )
