"""AdamW and its learning rate, as numbers that one program takes."""

import dataclasses
import math
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding


@dataclasses.dataclass(frozen=True)
class AdamWConfig:
  """AdamW with warm-up and cosine decay.

  Attributes:
    lr: peak learning rate.
    steps: length of the run.
    warmup: share of the steps in which the rate rises from 0.
    final: the rate at the end, as a share of the peak.
    b1, b2, eps: of Adam.
    weight_decay: of kernels and embeddings; none on biases and norms.
    clip: global norm above which gradients are scaled down.
    accumulate: parts that a batch is computed in, one after the other.
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
  accumulate: settings.PositiveInt = settings.not_identity(default=1)

  def __post_init__(self):
    settings.check(self)

  def make(self) -> optax.GradientTransformation:
    """Returns the optimizer, whose updates want to be scaled by -rate."""
    return optax.chain(
      optax.clip_by_global_norm(self.clip),
      optax.scale_by_adam(self.b1, self.b2, self.eps),
      optax.add_decayed_weights(self.weight_decay, decay_mask),
    )

  def pace(self) -> np.ndarray:
    """Returns float32[4]: peak and last rate, steps, steps of warm-up."""
    return np.array(
      (
        self.lr,
        self.final * self.lr,
        self.steps,
        math.ceil(self.warmup * self.steps),
      ),
      np.float32,
    )


def learning_rate(step, pace):
  """Returns the learning rate of a step: a linear rise, then a cosine's fall.

  It is `optax.warmup_cosine_decay_schedule`, which compares its arguments in
  Python and so makes them constants of the program.

  Args:
    step: int, counted from 0.
    pace: of `AdamWConfig.pace`.
  """
  peak, last, steps, warmup = pace
  fallen = jnp.clip((step - warmup) / jnp.maximum(steps - warmup, 1), 0, 1)
  cosine = last + (peak - last) * 0.5 * (1 + jnp.cos(jnp.pi * fallen))
  return jnp.where(step < warmup, peak * step / jnp.maximum(warmup, 1), cosine)


def decay_mask(tree):
  """Returns True for the leaves that weight decay applies to."""

  def one(path, _):
    name = sharding.path_name(path)
    return bool(re.search(r'(^|/)(kernel|embedding)$', name))

  return jax.tree_util.tree_map_with_path(one, tree)
