"""CLIP vision tower (arXiv 2103.00020), the image encoder of a Show-o variant.

This variant reads the patch features of ViT-L/14-336 instead of image codes.
They are the output of the penultimate layer without the class token, and a
two-layer projector maps them to embeddings. Modules are named as in the
PyTorch checkpoints.
"""

import dataclasses
import typing

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import clip_layers
from hermesflow_jax.models import linear_layers
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class ClipConfig:
  """Sizes of the vision tower; the defaults are ViT-L/14-336.

  Attributes:
    width: D, residual stream width.
    layers: L >= 2, block count.
    heads: N, attention heads; divides `width`.
    mlp: F, MLP width.
    patch: patch side in pixels.
    image: image side in pixels, a multiple of `patch`.
    norm_eps: LayerNorm epsilon.
    activation: a key in `clip_layers.ACTIVATIONS`.
    dtype: dtype for activations and matrix products; parameters are float32.

  Raises:
    ValueError: a size is invalid.
  """

  width: settings.PositiveInt = 1024
  layers: typing.Annotated[int, settings.at_least(2)] = 24
  heads: settings.PositiveInt = 16
  mlp: settings.PositiveInt = 4096
  patch: settings.PositiveInt = 14
  image: settings.PositiveInt = 336
  norm_eps: settings.PositiveFloat = 1e-5
  activation: typing.Annotated[
    str, settings.one_of(*clip_layers.ACTIVATIONS)
  ] = 'quick_gelu'
  dtype: typing.Any = settings.numerics(default=jnp.float32)

  def __post_init__(self):
    settings.check(self)
    clip_layers.check_multiples(self, ('width', 'heads'), ('image', 'patch'))

  @property
  def patches(self) -> int:
    """S, features per image."""
    return (self.image // self.patch) ** 2


class Clip(nnx.Module):
  """Vision tower."""

  def __init__(self, config: ClipConfig, *, rngs: nnx.Rngs):
    self.config = config
    width, side = config.width, config.patch
    self.class_embedding = nnx.Param(
      jax.random.normal(rngs.params(), (width,)) * width**-0.5
    )
    self.patch_embedding = nnx.Conv(
      3,
      width,
      (side, side),
      strides=side,
      padding='VALID',
      use_bias=False,
      dtype=config.dtype,
      rngs=rngs,
    )
    self.position_embedding = nnx.Embed(
      config.patches + 1, width, dtype=config.dtype, rngs=rngs
    )
    self.pre_layernorm = clip_layers.norm(config, rngs)
    self.layers = clip_layers.stacked_blocks(config, rngs)
    self.post_layernorm = clip_layers.norm(config, rngs)

  def __call__(self, pixels: jax.Array) -> jax.Array:
    """Computes the features of all patches, in row-major order.

    The last layer and its norm are not run: Show-o reads the layer before.

    Args:
      pixels: float[..., H, W, 3] with H = W = `image`, see `clip_pixels`.

    Returns:
      [..., S, D], output of the penultimate layer.

    Raises:
      ValueError: `pixels` has another shape.
    """
    but_last = jax.tree.map(lambda a: a[:-1], self.layers)
    x = clip_layers.run_blocks(but_last, self.embed(pixels))
    return x[..., 1:, :]

  def pooled(self, pixels: jax.Array) -> jax.Array:
    """Computes the feature of an image: the class token after all layers.

    Args:
      pixels: see `__call__`.

    Returns:
      float32[..., D], after the last norm.

    Raises:
      ValueError: `pixels` has another shape.
    """
    x = clip_layers.run_blocks(self.layers, self.embed(pixels))
    return self.post_layernorm(x[..., 0, :])

  def embed(self, pixels: jax.Array) -> jax.Array:
    """Computes the input of the first layer.

    Args:
      pixels: see `__call__`.

    Returns:
      [..., S + 1, D]: the class token, then the patches in row-major order.

    Raises:
      ValueError: `pixels` has another shape.
    """
    c = self.config
    if pixels.shape[-3:] != (c.image, c.image, 3):
      raise ValueError(
        f'pixels must have shape [..., {c.image}, {c.image}, 3], got '
        f'{pixels.shape}'
      )
    x = self.patch_embedding(pixels)
    x = x.reshape(*x.shape[:-3], c.patches, c.width)
    first = jnp.broadcast_to(
      self.class_embedding[...].astype(x.dtype), (*x.shape[:-2], 1, c.width)
    )
    x = jnp.concatenate([first, x], axis=-2)
    x = x + self.position_embedding(jnp.arange(c.patches + 1))
    return self.pre_layernorm(x).astype(c.dtype)


class Projector(nnx.Module):
  """Maps CLIP features to decoder embeddings: linear, GELU, linear."""

  def __init__(self, inputs: int, width: int, dtype, *, rngs: nnx.Rngs):
    self.first = linear_layers.Linear(inputs, width, dtype=dtype, rngs=rngs)
    self.second = linear_layers.Linear(width, width, dtype=dtype, rngs=rngs)

  def __call__(self, features: jax.Array) -> jax.Array:
    """Maps float[..., S, inputs] to [..., S, width]."""
    x = self.first(features)
    return self.second(jax.nn.gelu(x, approximate=False))
