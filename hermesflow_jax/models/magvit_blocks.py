"""Convolutional building blocks of MAGVIT-v2."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import magvit_config


class Level(nnx.Module):
  """Residual blocks at a fixed resolution, then a change of resolution."""

  def __init__(
    self,
    before,
    width,
    blocks,
    resample,
    config: magvit_config.MagvitConfig,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.block = nnx.List(
      [
        ResidualBlock(before if i == 0 else width, width, config, dtype, rngs)
        for i in range(blocks)
      ]
    )
    if resample == 'downsample':
      self.downsample = Downsample(width, dtype, rngs)
    if resample == 'upsample':
      self.upsample = Upsample(width, config, dtype, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps float[B, H, W, before] to float[B, H', W', width]."""
    for block in self.block:
      x = block(x)
    if hasattr(self, 'downsample'):
      x = self.downsample(x)
    if hasattr(self, 'upsample'):
      x = self.upsample(x)
    return x


class Middle(nnx.Module):
  """Residual block, attention, residual block, at the lowest resolution."""

  def __init__(
    self, width, config: magvit_config.MagvitConfig, dtype, rngs: nnx.Rngs
  ):
    self.block_1 = ResidualBlock(width, width, config, dtype, rngs)
    if config.mid_attention:
      self.attn_1 = Attention(width, config, dtype, rngs)
    self.block_2 = ResidualBlock(width, width, config, dtype, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps float[B, h, w, D] to float[B, h, w, D]."""
    x = self.block_1(x)
    if hasattr(self, 'attn_1'):
      x = self.attn_1(x)
    return self.block_2(x)


class ResidualBlock(nnx.Module):
  """Two layers of norm, swish and convolution, plus a shortcut."""

  def __init__(
    self,
    before,
    width,
    config: magvit_config.MagvitConfig,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.norm1 = norm(before, config, rngs)
    self.conv1 = conv(before, width, config, dtype, rngs)
    self.norm2 = norm(width, config, rngs)
    self.conv2 = conv(width, width, config, dtype, rngs)
    if before != width:
      self.nin_shortcut = nnx.Linear(before, width, dtype=dtype, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps float[B, H, W, before] to float[B, H, W, width]."""
    y = self.conv1(nnx.silu(self.norm1(x)))
    y = self.conv2(nnx.silu(self.norm2(y)))
    return y + (self.nin_shortcut(x) if hasattr(self, 'nin_shortcut') else x)


class Attention(nnx.Module):
  """Single-head attention over all positions of an image."""

  def __init__(
    self, width, config: magvit_config.MagvitConfig, dtype, rngs: nnx.Rngs
  ):
    linear = functools.partial(nnx.Linear, width, width, dtype=dtype, rngs=rngs)
    self.norm = norm(width, config, rngs)
    self.q, self.k, self.v = linear(), linear(), linear()
    self.proj_out = linear()

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps float[B, h, w, D] to float[B, h, w, D]."""
    y = self.norm(x).reshape(*x.shape[:-3], -1, x.shape[-1])
    scores = jnp.einsum(
      '...td,...sd->...ts',
      self.q(y),
      self.k(y),
      preferred_element_type=jnp.float32,
    )
    weights = jax.nn.softmax(scores * x.shape[-1] ** -0.5, axis=-1)
    v = self.v(y)
    y = jnp.einsum('...ts,...sd->...td', weights.astype(v.dtype), v)
    return x + self.proj_out(y).reshape(x.shape)


class Downsample(nnx.Module):
  """Halves the resolution with a strided convolution."""

  def __init__(self, width, dtype, rngs: nnx.Rngs):
    # A row of zeros at the bottom and a column of zeros on the right.
    self.conv = nnx.Conv(
      width,
      width,
      (3, 3),
      strides=2,
      padding=((0, 1), (0, 1)),
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps float[B, H, W, D] to float[B, H / 2, W / 2, D]."""
    return self.conv(x)


class Upsample(nnx.Module):
  """Doubles the resolution by repeating pixels, then convolves."""

  def __init__(
    self, width, config: magvit_config.MagvitConfig, dtype, rngs: nnx.Rngs
  ):
    self.conv = conv(width, width, config, dtype, rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps float[B, H, W, D] to float[B, 2 H, 2 W, D]."""
    return self.conv(jnp.repeat(jnp.repeat(x, 2, axis=-3), 2, axis=-2))


def space_to_depth(x: jax.Array, patch: int) -> jax.Array:
  """Folds [..., H, W, C] to [..., H / patch, W / patch, patch patch C]."""
  *batch, height, width, channels = x.shape
  x = x.reshape(*batch, height // patch, patch, width // patch, patch, channels)
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape(
    *batch, height // patch, width // patch, patch * patch * channels
  )


def depth_to_space(x: jax.Array, patch: int) -> jax.Array:
  """Unfolds channels to pixels; the inverse of `space_to_depth`."""
  *batch, height, width, depth = x.shape
  x = x.reshape(*batch, height, width, patch, patch, depth // patch**2)
  x = jnp.swapaxes(x, -4, -3)
  return x.reshape(*batch, height * patch, width * patch, depth // patch**2)


def flat_batch(module, x: jax.Array) -> jax.Array:
  """Applies a module for [B, H, W, C] to any number of batch axes.

  The group norm of flax requires exactly a single batch axis. By default, TPUs
  multiply float32 in bfloat16, which changes 7% of the codes of an image.
  Training uses the same precision as inference, so that a tokenizer is trained
  on the codes that it later produces.

  Args:
    module: maps [B, H, W, C] to [B, H', W', C'].
    x: float[..., H, W, C].

  Returns:
    float32[..., H', W', C'].
  """
  with jax.default_matmul_precision('highest'):
    y = module(x.reshape(-1, *x.shape[-3:]))
  return y.reshape(*x.shape[:-3], *y.shape[-3:]).astype(jnp.float32)


def conv(
  before, width, config: magvit_config.MagvitConfig, dtype, rngs: nnx.Rngs
) -> nnx.Conv:
  """Returns a convolution that keeps the resolution."""
  return nnx.Conv(
    before, width, (config.kernel, config.kernel), dtype=dtype, rngs=rngs
  )


def norm(width, config: magvit_config.MagvitConfig, rngs: nnx.Rngs):
  """Returns a float32 group norm over each image, or the identity."""
  if not config.num_groups:
    return Identity()
  return nnx.GroupNorm(
    width,
    num_groups=config.num_groups,
    epsilon=1e-6,
    dtype=jnp.float32,
    use_fast_variance=False,
    rngs=rngs,
  )


class Identity(nnx.Module):
  """Identity module, used instead of a norm."""

  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns `x`."""
    return x
