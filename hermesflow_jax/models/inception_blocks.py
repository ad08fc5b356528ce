"""Blocks of Inception v3 (arXiv 1512.00567, section 6) as FID needs them.

They differ from the usual blocks in the pools: averages do not count padding,
and the last block takes the maximum. Branches are named as in PyTorch.
"""

from collections.abc import Callable

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.runtime import sharding

NORM_EPS = 1e-3


class ConvNorm(nnx.Module):
  """Convolution without bias, batch norm with saved statistics, ReLU.

  Args:
    inputs: input channels.
    outputs: output channels.
    size: (height, width) of the kernel.
    stride: step in both directions.
    padding: 'SAME' or 'VALID'.
    dtype: dtype of the convolution; parameters and the norm are float32.
    rngs: random keys of the parameters.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    size: tuple[int, int],
    stride: int = 1,
    padding: str = 'SAME',
    *,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.stride, self.padding, self.dtype = stride, padding, dtype
    initial = nnx.initializers.he_normal()
    self.kernel = nnx.Param(initial(rngs.params(), (*size, inputs, outputs)))
    self.scale = nnx.Param(jnp.ones(outputs))
    self.bias = nnx.Param(jnp.zeros(outputs))
    self.mean = nnx.BatchStat(jnp.zeros(outputs))
    self.var = nnx.BatchStat(jnp.ones(outputs))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H', W', outputs] in `dtype`."""
    y = jax.lax.conv_general_dilated(
      x.astype(self.dtype),
      self.kernel[...].astype(self.dtype),
      (self.stride, self.stride),
      self.padding,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      # Without it, accelerators round float32 to 8 or 11 bits.
      precision=jax.lax.Precision.HIGHEST,
    ).astype(jnp.float32)
    y = (y - self.mean[...]) * jax.lax.rsqrt(self.var[...] + NORM_EPS)
    y = jax.nn.relu(y * self.scale[...] + self.bias[...])
    return sharding.constrain(y).astype(self.dtype)


# (inputs, outputs, size, stride=1, padding='SAME') -> ConvNorm
MakeConv = Callable[..., ConvNorm]


def average_pool(x: jax.Array) -> jax.Array:
  """Averages 3 x 3 neighbors; pixels outside the image do not count."""
  return nnx.avg_pool(
    x, (3, 3), (1, 1), padding='SAME', count_include_pad=False
  )


def reduce_pool(x: jax.Array) -> jax.Array:
  """Takes the maximum of 3 x 3 neighbors at every second pixel."""
  return nnx.max_pool(x, (3, 3), (2, 2))


def last_pool(x: jax.Array) -> jax.Array:
  """Takes the maximum of 3 x 3 neighbors at every pixel."""
  return nnx.max_pool(x, (3, 3), (1, 1), padding='SAME')


def chain(x: jax.Array, *layers: Callable) -> jax.Array:
  """Applies layers in order."""
  for layer in layers:
    x = layer(x)
  return x


class BlockA(nnx.Module):
  """Branches 1x1, 5x5, twice 3x3, and a pool; the size stays."""

  def __init__(self, inputs: int, pooled: int, conv: MakeConv):
    self.branch1x1 = conv(inputs, 64, (1, 1))
    self.branch5x5_1 = conv(inputs, 48, (1, 1))
    self.branch5x5_2 = conv(48, 64, (5, 5))
    self.branch3x3dbl_1 = conv(inputs, 64, (1, 1))
    self.branch3x3dbl_2 = conv(64, 96, (3, 3))
    self.branch3x3dbl_3 = conv(96, 96, (3, 3))
    self.branch_pool = conv(inputs, pooled, (1, 1))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H, W, 224 + pooled]."""
    branches = (
      self.branch1x1(x),
      chain(x, self.branch5x5_1, self.branch5x5_2),
      chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3),
      chain(x, average_pool, self.branch_pool),
    )
    return jnp.concatenate(branches, -1)


class BlockB(nnx.Module):
  """Branches 3x3, twice 3x3, and a pool; the size is halved."""

  def __init__(self, inputs: int, conv: MakeConv):
    self.branch3x3 = conv(inputs, 384, (3, 3), 2, 'VALID')
    self.branch3x3dbl_1 = conv(inputs, 64, (1, 1))
    self.branch3x3dbl_2 = conv(64, 96, (3, 3))
    self.branch3x3dbl_3 = conv(96, 96, (3, 3), 2, 'VALID')

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H / 2, W / 2, 480 + inputs]."""
    branches = (
      self.branch3x3(x),
      chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2, self.branch3x3dbl_3),
      reduce_pool(x),
    )
    return jnp.concatenate(branches, -1)


class BlockC(nnx.Module):
  """Branches 1x1, 7x7, twice 7x7 as rows and columns, and a pool."""

  def __init__(self, inputs: int, inner: int, conv: MakeConv):
    self.branch1x1 = conv(inputs, 192, (1, 1))
    self.branch7x7_1 = conv(inputs, inner, (1, 1))
    self.branch7x7_2 = conv(inner, inner, (1, 7))
    self.branch7x7_3 = conv(inner, 192, (7, 1))
    self.branch7x7dbl_1 = conv(inputs, inner, (1, 1))
    self.branch7x7dbl_2 = conv(inner, inner, (7, 1))
    self.branch7x7dbl_3 = conv(inner, inner, (1, 7))
    self.branch7x7dbl_4 = conv(inner, inner, (7, 1))
    self.branch7x7dbl_5 = conv(inner, 192, (1, 7))
    self.branch_pool = conv(inputs, 192, (1, 1))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H, W, 768]."""
    branches = (
      self.branch1x1(x),
      chain(x, self.branch7x7_1, self.branch7x7_2, self.branch7x7_3),
      chain(
        x,
        self.branch7x7dbl_1,
        self.branch7x7dbl_2,
        self.branch7x7dbl_3,
        self.branch7x7dbl_4,
        self.branch7x7dbl_5,
      ),
      chain(x, average_pool, self.branch_pool),
    )
    return jnp.concatenate(branches, -1)


class BlockD(nnx.Module):
  """Branches 3x3, 7x7 with 3x3, and a pool; the size is halved."""

  def __init__(self, inputs: int, conv: MakeConv):
    self.branch3x3_1 = conv(inputs, 192, (1, 1))
    self.branch3x3_2 = conv(192, 320, (3, 3), 2, 'VALID')
    self.branch7x7x3_1 = conv(inputs, 192, (1, 1))
    self.branch7x7x3_2 = conv(192, 192, (1, 7))
    self.branch7x7x3_3 = conv(192, 192, (7, 1))
    self.branch7x7x3_4 = conv(192, 192, (3, 3), 2, 'VALID')

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H / 2, W / 2, 512 + inputs]."""
    branches = (
      chain(x, self.branch3x3_1, self.branch3x3_2),
      chain(
        x,
        self.branch7x7x3_1,
        self.branch7x7x3_2,
        self.branch7x7x3_3,
        self.branch7x7x3_4,
      ),
      reduce_pool(x),
    )
    return jnp.concatenate(branches, -1)


class BlockE(nnx.Module):
  """Branches 1x1, 3x3 and twice 3x3 that fork into row and column, a pool.

  Args:
    inputs: input channels.
    pool: `average_pool`, or `last_pool` in the last block.
    conv: makes a convolution.
  """

  def __init__(self, inputs: int, pool: Callable, conv: MakeConv):
    self.pool = pool
    self.branch1x1 = conv(inputs, 320, (1, 1))
    self.branch3x3_1 = conv(inputs, 384, (1, 1))
    self.branch3x3_2a = conv(384, 384, (1, 3))
    self.branch3x3_2b = conv(384, 384, (3, 1))
    self.branch3x3dbl_1 = conv(inputs, 448, (1, 1))
    self.branch3x3dbl_2 = conv(448, 384, (3, 3))
    self.branch3x3dbl_3a = conv(384, 384, (1, 3))
    self.branch3x3dbl_3b = conv(384, 384, (3, 1))
    self.branch_pool = conv(inputs, 192, (1, 1))

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, inputs] to [B, H, W, 2048]."""
    fork = self.branch3x3_1(x)
    double = chain(x, self.branch3x3dbl_1, self.branch3x3dbl_2)
    branches = (
      self.branch1x1(x),
      self.branch3x3_2a(fork),
      self.branch3x3_2b(fork),
      self.branch3x3dbl_3a(double),
      self.branch3x3dbl_3b(double),
      chain(x, self.pool, self.branch_pool),
    )
    return jnp.concatenate(branches, -1)
