"""Batch size, logging and saving of a training run."""

from __future__ import annotations

import dataclasses

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings

with lazy_modules.on_first_use():
  from hermesflow_jax.training import training_loop


@dataclasses.dataclass(frozen=True)
class TrainingSchedule:
  """Batch size and intervals of a training run.

  Attributes:
    batch: global batch size.
    log_every: steps between metric lines.
    save_every: steps between checkpoints; 0 for none before the end.
  """

  batch: settings.PositiveInt
  log_every: settings.PositiveInt = settings.may_change_on_resume()
  save_every: settings.NonNegativeInt = settings.may_change_on_resume()

  def __post_init__(self):
    settings.check(self)

  def pace(self, steps: int) -> training_loop.LoopConfig:
    """Returns the loop config of a run.

    Args:
      steps: run length in steps.
    """
    return training_loop.LoopConfig(steps, self.log_every, self.save_every)
