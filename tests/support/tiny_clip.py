"""A tiny unified model of the CLIP variant, which reads pixels by a tower."""

import dataclasses
import functools

from flax import nnx
import jax
import small_unified
import tiny
import torch_weights

from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding


def sizes(**changes) -> showo.ShowOConfig:
  """Returns the sizes of a model that reads the features of `tower`."""
  return dataclasses.replace(
    tiny.sizes(**changes), clip_width=torch_weights.CLIP.width
  )


@functools.cache
def tower():
  """Returns a random tower of 12 x 12 pixels and 9 patches."""
  return torch_weights.model('clip_vision')


@functools.partial(jax.jit)
def show_o(key: jax.Array) -> showo.ShowO:
  """Returns a random model whose logits are far from uniform."""
  model = showo.ShowO(sizes(), rngs=nnx.Rngs(key))
  model.head.kernel[...] *= 4.0
  return model


def unified_on(model, shape=(1, 1), chunk=6):
  """Returns the model and the tower on a mesh."""
  unified = small_unified.unified_on(model, shape, chunk)
  return dataclasses.replace(
    unified, vision=jax.device_put(tower(), sharding.replicated(unified.mesh))
  )
