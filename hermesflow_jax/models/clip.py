"""CLIP's vision tower (arXiv 2103.00020), as a reader of images for Show-o.

The CLIP variant of Show-o reads the patches of ViT-L/14-336 in place of image
codes: the output of the penultimate layer, without the class token, through a
projector of two layers. Module names are those of the PyTorch checkpoints.
"""

import dataclasses
import typing

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import linear_layers
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class ClipConfig:
  """Sizes of the vision tower; the defaults are ViT-L/14-336.

  Attributes:
    width: D.
    layers: L, at least 2.
    heads: N.
    mlp: F.
    patch: pixels along the side of a patch.
    image: pixels along the side of an image, a multiple of `patch`.
    norm_eps: epsilon of every LayerNorm.
    dtype: of activations and matrix products; parameters stay float32.
  """

  width: settings.PositiveInt = 1024
  layers: typing.Annotated[int, settings.at_least(2)] = 24
  heads: settings.PositiveInt = 16
  mlp: settings.PositiveInt = 4096
  patch: settings.PositiveInt = 14
  image: settings.PositiveInt = 336
  norm_eps: settings.PositiveFloat = 1e-5
  dtype: typing.Any = settings.not_identity(of='model', default=jnp.float32)

  def __post_init__(self):
    settings.check(self)
    for name, part in (('width', 'heads'), ('image', 'patch')):
      if getattr(self, name) % getattr(self, part):
        raise ValueError(
          f'{name} {getattr(self, name)} wants to be a multiple of {part} '
          f'{getattr(self, part)}'
        )

  @property
  def patches(self) -> int:
    """S, the number of features of an image."""
    return (self.image // self.patch) ** 2


class Clip(nnx.Module):
  """The vision tower."""

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
    self.pre_layernorm = _norm(config, rngs)

    @jax.vmap
    def make(key):
      return Block(config, rngs=nnx.Rngs(key))

    self.layers = make(jax.random.split(rngs.params(), config.layers))
    self.post_layernorm = _norm(config, rngs)

  def __call__(self, pixels: jax.Array) -> jax.Array:
    """Returns the features of the patches, row by row.

    The last layer and the norm after it are not run: they are there so that
    the weights go back to PyTorch whole.

    Args:
      pixels: float[..., H, W, 3] of side `image`, normalised by `normalize_pixels`.

    Returns:
      [..., S, D], the output of the penultimate layer.

    Raises:
      ValueError: for other shapes.
    """
    c = self.config
    if pixels.shape[-3:] != (c.image, c.image, 3):
      raise ValueError(
        f'pixels: found shape {pixels.shape}, wanted '
        f'[..., {c.image}, {c.image}, 3]'
      )
    x = self.patch_embedding(pixels)
    x = x.reshape(*x.shape[:-3], c.patches, c.width)
    first = jnp.broadcast_to(
      self.class_embedding[...].astype(x.dtype), (*x.shape[:-2], 1, c.width)
    )
    x = jnp.concatenate([first, x], axis=-2)
    x = x + self.position_embedding(jnp.arange(c.patches + 1))
    x = self.pre_layernorm(x).astype(c.dtype)
    but_last = jax.tree.map(lambda a: a[:-1], self.layers)
    x, _ = jax.lax.scan(lambda x, layer: (layer(x), None), x, but_last)
    return x[..., 1:, :]


class Block(nnx.Module):
  """x + attention(norm x), then x + mlp(norm x)."""

  def __init__(self, config: ClipConfig, *, rngs: nnx.Rngs):
    self.config = config

    def linear(inputs, outputs):
      return nnx.Linear(inputs, outputs, dtype=config.dtype, rngs=rngs)

    width = config.width
    self.layer_norm1 = _norm(config, rngs)
    self.q_proj = linear(width, width)
    self.k_proj = linear(width, width)
    self.v_proj = linear(width, width)
    self.out_proj = linear(width, width)
    self.layer_norm2 = _norm(config, rngs)
    self.fc1 = linear(width, config.mlp)
    self.fc2 = linear(config.mlp, width)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., T, D] -> [..., T, D]."""
    c = self.config

    def heads(a):
      return a.reshape(*a.shape[:-1], c.heads, c.width // c.heads)

    y = self.layer_norm1(x).astype(c.dtype)
    q, k, v = (heads(f(y)) for f in (self.q_proj, self.k_proj, self.v_proj))
    y = jax.nn.dot_product_attention(
      q.reshape(-1, *q.shape[-3:]),
      k.reshape(-1, *k.shape[-3:]),
      v.reshape(-1, *v.shape[-3:]),
    )
    x = x + self.out_proj(y.reshape(x.shape))
    y = self.fc1(self.layer_norm2(x).astype(c.dtype))
    return x + self.fc2(y * jax.nn.sigmoid(1.702 * y))


class Projector(nnx.Module):
  """From CLIP's features to the decoder's embeddings: linear, GELU, linear."""

  def __init__(self, inputs: int, width: int, dtype, *, rngs: nnx.Rngs):
    self.first = linear_layers.Linear(inputs, width, dtype=dtype, rngs=rngs)
    self.second = linear_layers.Linear(width, width, dtype=dtype, rngs=rngs)

  def __call__(self, features: jax.Array) -> jax.Array:
    """float[..., S, inputs] -> [..., S, width]."""
    x = self.first(features)
    return self.second(jax.nn.gelu(x, approximate=False))


def normalize_pixels(images: jax.Array) -> jax.Array:
  """Returns float32 pixels as CLIP wants them, of uint8[..., H, W, 3]."""
  mean = jnp.array([0.48145466, 0.4578275, 0.40821073])
  deviation = jnp.array([0.26862954, 0.26130258, 0.27577711])
  return (images.astype(jnp.float32) / 255.0 - mean) / deviation


def _norm(config, rngs):
  return nnx.LayerNorm(
    config.width, epsilon=config.norm_eps, dtype=jnp.float32, rngs=rngs
  )
