"""Settings of the loss on preference pairs."""

import dataclasses
import typing

from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """What is learned from pairs.

  Attributes:
    method: a name of `methods.METHODS`.
    beta, smoothing: see `methods.LossParams`.
    und_weight, gen_weight: coefficients of the method's losses of captions
      and of images.
    und_sft_weight, gen_sft_weight: of the negative log-likelihood per token
      of winning captions, and of winning images: added to a method that
      learns from these.
    masks: random masks a pair; their log-likelihoods are averaged.
    drop_condition: probability that a pair of images has the empty text.
    fixed_masks: a pair keeps its masks for a whole round, so that the
      reference scores it once before; otherwise masks are drawn at each step.
  """

  method: typing.Annotated[str, settings.one_of(*methods.METHODS)] = 'pair_dpo'
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
        f'smoothing is {self.smoothing} with method {self.method}: smoothed '
        'and robust want more than 0, all others 0'
      )
    if self.method == 'sft' and self.und_sft_weight + self.gen_sft_weight:
      raise ValueError(
        'method sft wants und_sft_weight and gen_sft_weight 0: its own '
        'losses are the same, with und_weight and gen_weight'
      )
    weights = self.und_weight, self.gen_weight
    if self.method == 'product' and weights != (1, 1):
      raise ValueError('method product wants und_weight and gen_weight 1')
