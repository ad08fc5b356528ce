"""Round sizes for measurements on the host."""

import dataclasses

from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class RoundSize:
  """What a round has.

  Attributes:
    inputs: N inputs; as many are evaluated.
    images: K images drawn for an input.
    captions: M captions written for an input.
    grid: codes along a side of an image; an image has grid x grid.
    questions: questions about an input.
  """

  inputs: settings.PositiveInt
  images: settings.PositiveInt
  captions: settings.PositiveInt
  grid: settings.PositiveInt
  questions: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)
