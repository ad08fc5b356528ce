"""Settings of LoRA adapters; imports no flax."""

import dataclasses
import typing

from hermesflow_jax.runtime import settings

# Kernels of a block that can have an adapter.
TARGETS = ('q_proj', 'k_proj', 'v_proj', 'dense', 'fc1', 'fc2')


@dataclasses.dataclass(frozen=True)
class Lora:
  """Adapter settings.

  Attributes:
    rank: r, adapter rank; 0 trains all parameters instead.
    alpha: adapter scale, multiplied by 1 / r.
    targets: kernels with adapters, entries in TARGETS.

  Raises:
    ValueError: a number is invalid, or a target is unknown.
  """

  rank: settings.NonNegativeInt
  alpha: settings.PositiveFloat
  targets: tuple[typing.Annotated[str, settings.one_of(*TARGETS)], ...]

  def __post_init__(self):
    settings.check(self)
    if not self.targets:
      raise ValueError(
        f'targets must be some of {", ".join(TARGETS)}, got {self.targets}'
      )

  @property
  def scale(self) -> float:
    """Scale for the product a b: alpha / r."""
    return self.alpha / self.rank
