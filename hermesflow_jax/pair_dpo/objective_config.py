"""Settings for the loss on preference pairs, or on candidate groups."""

import dataclasses
import typing

from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import group_objective
from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.runtime import settings

# The method that learns from groups; those in `methods` learn from pairs.
GRPO = 'grpo'
# METHODS is read at each check, as programs may add their own methods to it.
_METHOD = dataclasses.replace(
  settings.one_of(*methods.METHODS, GRPO),
  holds=lambda name: name == GRPO or name in methods.METHODS,
)
_RATIO = settings.one_of(*group_objective.RATIOS)
_NOT_ONE = settings.Condition(
  '0 or at least 2', lambda value: value == 0 or value >= 2
)
# Settings of `ObjectiveConfig` that methods on pairs do not read.
_OF_GROUPS = ('ratio', 'clip', 'kl_weight', 'scale_rewards', 'group_images')


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """Settings for the loss.

  Attributes:
    method: a key in `methods.METHODS`, or 'grpo', which learns from
      candidate groups with rewards; see `group_objective`.
    beta: see `methods.LossParams`.
    smoothing: see `methods.LossParams`.
    ratio: in grpo, an image's log-ratios that are clipped: 'sum' or 'mean' over
      its masked codes, or each 'token'. Captions are clipped token by token.
    clip: in grpo, bound on a ratio's change.
    kl_weight: in grpo, weight for the divergence from the frozen reference.
    scale_rewards: in grpo, whether advantages are divided by the standard
      deviation of the group's rewards, as in its paper; TRL has the same name.
    group_images: in grpo, images of a group that it learns from, those whose
      rewards vary most, see `candidate_groups.widest`; 0: all.
    und_weight: weight for the method's caption loss.
    gen_weight: weight for the method's image loss.
    und_sft_weight: weight for the winning captions' negative log-likelihood per
      token, added to methods that learn from captions.
    gen_sft_weight: the same for images.
    masks: J, random masks per pair or group; their log-likelihoods are
      averaged.
    mask_progress: range for the mask schedule's progress t, from which masks
      are sampled; (0, 0.5) is the noisy half.
    drop_condition: probability that an image pair or group has the empty text.
    fixed_masks: whether a pair keeps its masks for a whole round, so that the
      reference scores it once, before the round. Otherwise each step samples
      new masks.
    group_part: in grpo, a group's images and captions that a step computes at
      once. It changes memory and speed, not results.
    answers: answers to the inputs' questions, learned from beside the method.
  """

  method: typing.Annotated[str, _METHOD] = 'pair_dpo'
  beta: settings.PositiveFloat = 0.2
  smoothing: typing.Annotated[float, settings.between(0, 0.49)] = 0.0
  und_weight: settings.NonNegativeFloat = 1.0
  gen_weight: settings.NonNegativeFloat = 1.0
  und_sft_weight: settings.NonNegativeFloat = 0.0
  gen_sft_weight: settings.NonNegativeFloat = 0.0
  masks: settings.PositiveInt = 1
  mask_progress: tuple[float, float] = (0.0, 1.0)
  drop_condition: settings.Fraction = 0.1
  fixed_masks: bool = False
  ratio: typing.Annotated[str, _RATIO] = 'token'
  clip: settings.PositiveFloat = 0.2
  kl_weight: settings.NonNegativeFloat = 0.0
  scale_rewards: bool = True
  group_images: typing.Annotated[int, _NOT_ONE] = 0
  group_part: settings.PositiveInt = settings.may_change_on_resume(default=2)
  answers: answer_config.AnswerConfig = answer_config.AnswerConfig()

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
    self._check_mask_progress()
    self._check_groups()
    weights = self.und_weight, self.gen_weight
    if self.method == 'product' and weights != (1, 1):
      raise ValueError(
        'und_weight and gen_weight must be 1 with method product, got '
        f'{self.und_weight} and {self.gen_weight}'
      )

  def check_reference(self, reference: str, default: str) -> None:
    """Checks that a reference other than the default has a use.

    Args:
      reference: the setting `reference`.
      default: its default, as an error prints it.

    Raises:
      ValueError: method grpo has no divergence.
    """
    if self.uses_groups and not self.kl_weight:
      raise ValueError(
        f'reference must be {default} with method grpo and kl_weight=0, got '
        f'{reference!r}; give objective.kl_weight, the weight for the '
        'divergence from it'
      )

  def _check_mask_progress(self):
    progress = self.mask_progress
    if len(progress) != 2 or not 0 <= progress[0] < progress[1] <= 1:
      raise ValueError(
        'mask_progress must be two numbers with 0 <= first < last <= 1, got '
        f'{self.mask_progress}'
      )

  def _check_groups(self):
    if not self.uses_groups:
      for name in _OF_GROUPS:
        default = type(self).__dataclass_fields__[name].default
        if getattr(self, name) != default:
          raise ValueError(
            f'{name} must be {default!r}, its default, without method grpo, '
            f'got {getattr(self, name)!r} with method {self.method}'
          )
      return
    sft = self.und_sft_weight, self.gen_sft_weight
    if any(sft):
      raise ValueError(
        'und_sft_weight and gen_sft_weight must be 0 with method grpo, which '
        f'has no winners, got {sft[0]} and {sft[1]}'
      )
    if not self.und_weight + self.gen_weight:
      raise ValueError(
        'und_weight or gen_weight must be more than 0 with method grpo, got 0 '
        'for both: there is nothing to learn'
      )

  @property
  def uses_groups(self) -> bool:
    """Whether the method learns from groups instead of pairs."""
    return self.method == GRPO

  @property
  def learns_images(self) -> bool:
    """Whether the loss on images has a weight."""
    return self.gen_weight > 0

  @property
  def learns_captions(self) -> bool:
    """Whether the loss on captions has a weight."""
    return self.und_weight > 0
