"""LoRA (arXiv 2106.09685): small matrices beside frozen kernels of the decoder.

Only the adapters are trained, saved and optimized; the frozen model is the
reference as it stands, so there is no second copy of it. Weight decay is of
kernels and embeddings, so adapters have none.
"""

from collections.abc import Mapping
import dataclasses
import typing

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.runtime import settings

# The kernels of a block that can have an adapter.
TARGETS = ('q_proj', 'k_proj', 'v_proj', 'dense', 'fc1', 'fc2')

# {target: {'a': float32[L, inputs, rank], 'b': float32[L, rank, outputs]}}
Adapters = Mapping[str, Mapping[str, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Lora:
  """Which kernels have adapters, and of what size.

  Attributes:
    rank: r, of the matrices; 0 for no adapters: all parameters learn.
    alpha: what they add is scaled by alpha / r.
    targets: names of TARGETS.
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
    """alpha / r."""
    return self.alpha / self.rank


class AdaptedLinear(nnx.Module):
  """A linear layer with an adapter: linear(x) + scale (x a) b."""

  def __init__(self, linear: nnx.Linear, a, b, scale: float):
    self.linear = linear
    self.a, self.b = nnx.Param(a), nnx.Param(b)
    self.scale = scale

  def __call__(self, x):
    a, b = (each[...].astype(x.dtype) for each in (self.a, self.b))
    return self.linear(x) + self.scale * ((x @ a) @ b)


def init_adapters(model, config: Lora, key: jax.Array) -> Adapters:
  """Returns adapters that change nothing yet: b is zero.

  Args:
    model: a ShowO.
    config: which, and of what size.
    key: of a, which is normal with variance 1 / inputs.
  """
  out = {}
  for target, each in zip(
    config.targets, jax.random.split(key, len(config.targets))
  ):
    layers, inputs, outputs = getattr(model.decoder.layers, target).kernel.shape
    a = jax.random.normal(each, (layers, inputs, config.rank))
    out[target] = {
      'a': a * inputs**-0.5,
      'b': jnp.zeros((layers, config.rank, outputs)),
    }
  return out


def with_adapters(model, adapters: Adapters, config: Lora):
  """Returns the model with adapters; its parameters are frozen, not copied."""
  model = _copy(jax.lax.stop_gradient(model))
  for target, each in adapters.items():
    layers = model.decoder.layers
    linear = getattr(layers, target)
    setattr(layers, target, AdaptedLinear(linear, **each, scale=config.scale))
  return model


def merge_adapters(model, adapters: Adapters, config: Lora):
  """Returns a plain model whose kernels have the adapters added."""
  model = _copy(model)
  for target, each in adapters.items():
    kernel = getattr(model.decoder.layers, target).kernel
    added = jnp.einsum('lir,lro->lio', each['a'], each['b'])
    kernel[...] = (kernel[...] + config.scale * added).astype(kernel.dtype)
  return model


merge = jax.jit(merge_adapters, static_argnames='config')


def _copy(model):
  """The same arrays in modules of their own."""
  return jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(model))
