"""AdamW, with the learning-rate schedule as an argument to the program."""

from __future__ import annotations

import dataclasses
import math
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding

if typing.TYPE_CHECKING:
  import optax


@dataclasses.dataclass(frozen=True)
class AdamWConfig:
  """AdamW with warm-up and cosine decay.

  Attributes:
    lr: peak learning rate.
    steps: length of the run.
    warmup: fraction of steps, in [0, 1], during which the rate rises from 0.
    final: last learning rate relative to the peak, in [0, 1].
    b1: Adam's decay rate for the first moment.
    b2: Adam's decay rate for the second moment.
    eps: Adam's epsilon.
    weight_decay: weight decay for kernels and embeddings, not for biases and
      norms.
    clip: global norm above which gradients are scaled down.
    accumulate: number of equal batch parts, computed in turn.
  """

  lr: settings.PositiveFloat
  steps: settings.PositiveInt
  warmup: settings.Fraction = 0.05
  final: settings.Fraction = 0.0
  b1: typing.Annotated[float, settings.at_least(0), settings.below(1)] = 0.9
  b2: typing.Annotated[float, settings.at_least(0), settings.below(1)] = 0.999
  eps: settings.PositiveFloat = 1e-8
  weight_decay: settings.NonNegativeFloat = 0.01
  clip: settings.PositiveFloat = 1.0
  accumulate: settings.PositiveInt = settings.may_change_on_resume(default=1)

  def __post_init__(self):
    settings.check(self)

  def make(self) -> optax.GradientTransformation:
    """Returns the optimizer; the caller scales its updates by -rate."""
    import optax

    return optax.chain(
      optax.clip_by_global_norm(self.clip),
      optax.scale_by_adam(self.b1, self.b2, self.eps),
      optax.add_decayed_weights(self.weight_decay, decay_mask),
    )

  def schedule(self) -> np.ndarray:
    """Returns float32[4]: peak rate, last rate, steps, warm-up steps."""
    return np.array(
      (
        self.lr,
        self.final * self.lr,
        self.steps,
        math.ceil(self.warmup * self.steps),
      ),
      np.float32,
    )


def learning_rate(step, schedule):
  """Returns the learning rate of a step: linear warm-up, then cosine decay.

  It equals `optax.warmup_cosine_decay_schedule`, which compares its arguments
  in Python, so that they would be constants of the program.

  Args:
    step: int32[], counted from 0.
    schedule: float32[4] from `AdamWConfig.schedule`.

  Returns:
    float32[].
  """
  peak, last, steps, warmup = schedule
  progress = jnp.clip((step - warmup) / jnp.maximum(steps - warmup, 1), 0, 1)
  cosine = last + (peak - last) * 0.5 * (1 + jnp.cos(jnp.pi * progress))
  return jnp.where(step < warmup, peak * step / jnp.maximum(warmup, 1), cosine)


def decay_mask(tree):
  """Returns the tree with True at leaves that have weight decay, else False."""

  def decays(path, _):
    name = sharding.path_name(path)
    return bool(re.search(r'(^|/)(kernel|embedding)$', name))

  return jax.tree_util.tree_map_with_path(decays, tree)
