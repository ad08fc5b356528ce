"""Settings for a round of learning."""

import dataclasses

from hermesflow_jax.models import lora_config
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.training import adamw

_NO_DEFECTS = official_defects.OfficialDefects()


@dataclasses.dataclass(frozen=True)
class LearningConfig:
  """Settings for a round of learning.

  Attributes:
    objective: loss and masks.
    compat: official defects to reproduce.
    caption_prompt: prompt for captions.
    mask_schedule: schedule for the random masks.
    optim: optimizer.
    lora: adapters to train, if the rank is above 0; otherwise all parameters
      are trained.
    epochs: passes over the records, which may end a round before `optim.steps`;
      0 for no limit.
    batch: records per step.
    label_rows: labels of a record whose logits are in memory at once.
    log_every: steps between two metrics lines.
    save_every: steps between two checkpoints within a round; 0 for none except
      after a stop.
    sample_every: steps between two samples of images and captions for the
      first inputs; 0 for none.
    profile_steps: first step to profile, and first step after the profile;
      (0, 0) for none.
    seed: seed of order, masks and adapters.
  """

  objective: objective_config.ObjectiveConfig = settings.of_learning()
  compat: official_defects.OfficialDefects = settings.of_learning()
  caption_prompt: str = dataclasses.field(
    default=text_tokenizer.CAPTION_PROMPT, kw_only=True
  )
  mask_schedule: str = settings.of_learning()
  optim: adamw.AdamWConfig = settings.of_learning()
  lora: lora_config.Lora = settings.of_learning()
  epochs: settings.NonNegativeFloat = settings.of_learning()
  batch: settings.PositiveInt = settings.of_learning()
  label_rows: settings.PositiveInt = settings.may_change_on_resume()
  log_every: settings.PositiveInt = settings.may_change_on_resume()
  save_every: settings.NonNegativeInt = settings.may_change_on_resume()
  sample_every: settings.NonNegativeInt = settings.may_change_on_resume()
  profile_steps: tuple[int, int] = settings.may_change_on_resume()
  seed: settings.NonNegativeInt

  def __post_init__(self):
    settings.check(self)
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)
    mask_schedules.parse_schedule(self.mask_schedule)
    first, after = self.profile_steps
    if not 0 <= first <= after:
      raise ValueError(
        'profile_steps must be two steps with 0 <= first <= after, got '
        f'{self.profile_steps}'
      )
    sums = self.compat.batch_sum or self.compat.score_images_as_text
    if sums and self.objective.method in ('sft', 'per_token'):
      raise ValueError(
        'compat.batch_sum and compat.score_images_as_text must be False for '
        f'methods that count tokens, got method {self.objective.method}'
      )
    if self.compat.batch_sum and self.optim.accumulate > 1:
      raise ValueError(
        'optim.accumulate must be 1 with compat.batch_sum, whose loss does not '
        f'add up over records, got {self.optim.accumulate}'
      )
    if self.objective.uses_groups and self.compat != _NO_DEFECTS:
      raise ValueError(
        'compat must reproduce no official defect with method grpo, got '
        f'{self.compat}'
      )
    if self.compat.plain and self.objective.fixed_masks:
      raise ValueError(
        'objective.fixed_masks must be False with compat.score_images_as_text '
        'or compat.separate_drops'
      )

  @property
  def training_schedule(self) -> mask_schedules.Schedule:
    """Schedule for the random masks in training."""
    schedule = mask_schedules.parse_schedule(self.mask_schedule)
    return mask_schedules.restrict(schedule, self.objective.mask_progress)
