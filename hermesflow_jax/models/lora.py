"""LoRA (arXiv 2106.09685): low-rank adapters for the decoder's kernels.

Only the adapters are trained and saved. The frozen model also serves as the
reference model, which saves a second copy. Adapters have no weight decay, which
applies to kernels and embeddings.
"""

from collections.abc import Mapping

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import lora_config

# Its name for programs that train adapters.
Lora = lora_config.Lora
TARGETS = lora_config.TARGETS
# {target: {'a': float32[L, inputs, rank], 'b': float32[L, rank, outputs]}}
Adapters = Mapping[str, Mapping[str, jax.Array]]


class AdaptedLinear(nnx.Module):
  """Linear layer with an adapter: linear(x) + scale (x a) b."""

  def __init__(self, linear: nnx.Linear, a, b, scale: float):
    self.linear = linear
    self.a, self.b = nnx.Param(a), nnx.Param(b)
    self.scale = scale

  def __call__(self, x):
    """Maps [..., inputs] to [..., outputs]."""
    a, b = (matrix[...].astype(x.dtype) for matrix in (self.a, self.b))
    return self.linear(x) + self.scale * ((x @ a) @ b)


def init_adapters(model, config: Lora, key: jax.Array) -> Adapters:
  """Initializes adapters; b is zero, so they do not change the model.

  Args:
    model: a ShowO.
    config: adapter settings.
    key: random key for a, which is normal with variance 1 / inputs.
  """
  out = {}
  for target, target_key in zip(
    config.targets, jax.random.split(key, len(config.targets))
  ):
    layers, inputs, outputs = getattr(model.decoder.layers, target).kernel.shape
    a = jax.random.normal(target_key, (layers, inputs, config.rank))
    out[target] = {
      'a': a * inputs**-0.5,
      'b': jnp.zeros((layers, config.rank, outputs)),
    }
  return out


def with_adapters(model, adapters: Adapters, config: Lora):
  """Returns the model with adapters; its parameters are frozen, not copied."""
  model = _copy(jax.lax.stop_gradient(model))
  for target, pair in adapters.items():
    layers = model.decoder.layers
    linear = getattr(layers, target)
    setattr(layers, target, AdaptedLinear(linear, **pair, scale=config.scale))
  return model


def merge_adapters(model, adapters: Adapters, config: Lora):
  """Adds the adapters to the kernels and returns a model without adapters."""
  model = _copy(model)
  for target, pair in adapters.items():
    kernel = getattr(model.decoder.layers, target).kernel
    added = jnp.einsum('lir,lro->lio', pair['a'], pair['b'])
    kernel[...] = (kernel[...] + config.scale * added).astype(kernel.dtype)
  return model


merge = jax.jit(merge_adapters, static_argnames='config')


def _copy(model):
  """Copies the modules but not their arrays."""
  return jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(model))
