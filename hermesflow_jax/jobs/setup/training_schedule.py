"""Length of a training run, and how often it logs and saves."""

import dataclasses

from hermesflow_jax.runtime import settings
from hermesflow_jax.training import training_loop


@dataclasses.dataclass(frozen=True)
class TrainingSchedule:
  """How long a run is and what it writes on the way.

  Attributes:
    batch: global batch size.
    log_every: steps between two lines of metrics.
    save_every: steps between two checkpoints; 0 for none before the end.
  """

  batch: settings.PositiveInt
  log_every: settings.PositiveInt = settings.not_identity()
  save_every: settings.NonNegativeInt = settings.not_identity()

  def __post_init__(self):
    settings.check(self)

  def pace(self, steps: int) -> training_loop.LoopConfig:
    """Returns the pace of a run of so many steps."""
    return training_loop.LoopConfig(steps, self.log_every, self.save_every)
