"""The Phi decoder: parallel attention and MLP blocks, stacked and scanned.

Phi-1.5 (arXiv 2309.05463) as Show-o uses it: one LayerNorm feeds attention and
MLP side by side, query and key are normalised per head before a rotary
embedding that turns only the first part of each head, biases everywhere.
"""

from collections.abc import Sequence
import dataclasses
import typing

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import attention
from hermesflow_jax.models import linear_layers
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import attention_mask

# What of a block is kept for the backward pass: all; nothing; the results of
# products with weights.
REMAT = {
  'none': None,
  'full': jax.checkpoint_policies.nothing_saveable,
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}

Backend = typing.Annotated[str, settings.one_of(*attention.BACKENDS)]


@dataclasses.dataclass(frozen=True)
class PhiConfig:
  """Sizes and numerics of the decoder.

  Attributes:
    width: D, the size of the residual stream.
    layers: L, the number of blocks.
    heads: N, attention heads; each has `width // heads` channels.
    mlp: F, the hidden size of the MLP.
    rotary_fraction: the part of each head that rotates.
    rope_theta: the base of the rotary frequencies.
    norm_eps: epsilon of every LayerNorm.
    remat: what of each block the backward pass computes again: a name of
      REMAT.
    unroll: blocks per iteration of the scan over layers.
    attention: what computes it: a name of `attention.BACKENDS`.
    dtype: 'float32' or 'bfloat16', of activations and matrix products;
      parameters, norms and softmaxes are float32.
  """

  width: settings.PositiveInt = 2048
  layers: settings.PositiveInt = 24
  heads: settings.PositiveInt = 32
  mlp: settings.PositiveInt = 8192
  rotary_fraction: settings.Fraction = 0.5
  rope_theta: settings.PositiveFloat = 10_000.0
  norm_eps: settings.PositiveFloat = 1e-5
  remat: typing.Annotated[str, settings.one_of(*REMAT)] = settings.not_identity(
    of='model', default='none'
  )
  unroll: settings.PositiveInt = settings.not_identity(of='model', default=1)
  attention: Backend = settings.not_identity(of='model', default='xla')
  dtype: typing.Annotated[str, settings.one_of('float32', 'bfloat16')] = (
    settings.not_identity(of='model', default='float32')
  )

  def __post_init__(self):
    # A type, too, is taken for its name.
    if not isinstance(self.dtype, str):
      object.__setattr__(self, 'dtype', jnp.dtype(self.dtype).name)
    settings.check(self)
    if self.attention == 'cudnn' and self.dtype != 'bfloat16':
      raise ValueError("attention 'cudnn' wants dtype 'bfloat16'")
    if self.width % self.heads:
      raise ValueError(
        f'width {self.width} wants to be a multiple of heads {self.heads}'
      )

  @property
  def head_size(self) -> int:
    """H, the channels of one head."""
    return self.width // self.heads

  @property
  def rotary_size(self) -> int:
    """The number of rotated channels of a head; even."""
    return int(self.rotary_fraction * self.head_size) // 2 * 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of earlier tokens, in buffers of fixed size.

  Attributes:
    k: [L, ..., S, N, H], keys after norm and rotation.
    v: [L, ..., S, N, H].
    index: int32[], where the next call writes its first token.
  """

  k: jax.Array
  v: jax.Array
  index: jax.Array

  @property
  def size(self) -> int:
    """S, the tokens there is room for."""
    return self.k.shape[-3]

  def put(self, other: 'Cache', start) -> 'Cache':
    """Returns the cache with another's tokens written from `start` on."""

    def write(a, b):
      return jax.lax.dynamic_update_slice_in_dim(a, b, start, axis=-3)

    return dataclasses.replace(
      self, k=write(self.k, other.k), v=write(self.v, other.v)
    )

  @classmethod
  def empty(cls, config: PhiConfig, batch: tuple[int, ...], size: int):
    """Returns a cache of zeros for `size` tokens a row."""
    shape = (config.layers, *batch, size, config.heads, config.head_size)
    zeros = jnp.zeros(shape, config.dtype)
    return cls(zeros, zeros, jnp.zeros((), jnp.int32))


def rotary(x: jax.Array, positions: jax.Array, size: int, theta: float):
  """Rotates the first `size` channels of every head (arXiv 2104.09864).

  Args:
    x: [..., T, N, H].
    positions: int[..., T].
    size: rotated channels; the halves [0, size/2) and [size/2, size) pair up.
    theta: base of the frequencies.

  Returns:
    [..., T, N, H], of the dtype of `x`; angles are float32.
  """
  frequencies = theta ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
  angles = positions[..., None, None].astype(jnp.float32) * frequencies
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  a, b = jnp.split(x[..., :size].astype(jnp.float32), 2, axis=-1)
  turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
  return jnp.concatenate([turned.astype(x.dtype), x[..., size:]], axis=-1)


class Block(nnx.Module):
  """One parallel block: x + dense(attention(norm x)) + fc2(gelu(fc1(norm x)))."""

  def __init__(self, config: PhiConfig, *, rngs: nnx.Rngs):
    self.config = config
    width, heads, mlp = config.width, config.heads, config.mlp
    if width % heads:
      raise ValueError(f'width {width} is not a multiple of heads {heads}')

    def linear(inputs, outputs):
      return linear_layers.Linear(
        inputs, outputs, dtype=config.dtype, rngs=rngs
      )

    def norm(size):
      return nnx.LayerNorm(
        size, epsilon=config.norm_eps, dtype=jnp.float32, rngs=rngs
      )

    self.input_layernorm = norm(width)
    self.q_proj = linear(width, width)
    self.k_proj = linear(width, width)
    self.v_proj = linear(width, width)
    self.q_layernorm = norm(config.head_size)
    self.k_layernorm = norm(config.head_size)
    self.dense = linear(width, width)
    self.fc1 = linear(width, mlp)
    self.fc2 = linear(mlp, width)

  def __call__(self, x, sees, positions, kv=None, index=None, past=()):
    """Applies the block.

    Args:
      x: [..., T, D].
      sees: who sees whom of the keys of `past`, then of `kv` or the T tokens,
        see `attention.attend`; or a `attention_mask.Packed` row, without these two.
      positions: int[..., T].
      kv: None, or the layer's cache, two arrays [..., S, N, H].
      index: where in the cache the T tokens are written.
      past: (k, v) pairs of earlier tokens, which are only read.

    Returns:
      ([..., T, D], the written cache or None).
    """
    c = self.config
    y = self.input_layernorm(x).astype(c.dtype)
    *qkv, hidden = self._enter(y)
    q, k, v = (a.reshape(*a.shape[:-1], c.heads, c.head_size) for a in qkv)
    q, k = self.q_layernorm(q), self.k_layernorm(k)
    q = rotary(q, positions, c.rotary_size, c.rope_theta).astype(c.dtype)
    k = rotary(k, positions, c.rotary_size, c.rope_theta).astype(c.dtype)
    if kv is not None:
      write = jax.lax.dynamic_update_slice_in_dim
      k, v = kv = (
        write(kv[0], k.astype(kv[0].dtype), index, axis=-3),
        write(kv[1], v.astype(kv[1].dtype), index, axis=-3),
      )
    backend = attention.choose_backend(c.attention, jax.default_backend())
    if isinstance(sees, attention_mask.Packed):
      out = attention.packed_attention(q, k, v, sees, backend)
    else:
      out = attention.attend(q, [*past, (k, v)], sees, backend)
    hidden = jax.nn.gelu(hidden, approximate=True)
    x = x + self._leave(out.reshape(y.shape), hidden)
    return sharding.constrain(x), kv

  def _enter(self, y):
    """Queries, keys, values [..., T, D] and the MLP's hidden [..., T, F]."""
    return self.q_proj(y), self.k_proj(y), self.v_proj(y), self.fc1(y)

  def _leave(self, attended, hidden):
    """What attention and the MLP add to the residual stream, [..., T, D]."""
    return self.dense(attended) + self.fc2(hidden)


class Phi(nnx.Module):
  """L blocks and a final LayerNorm; a stack of parameters with L in front."""

  def __init__(self, config: PhiConfig, *, rngs: nnx.Rngs):
    self.config = config

    @jax.vmap
    def make(key):
      return Block(config, rngs=nnx.Rngs(key))

    self.layers = make(jax.random.split(rngs.params(), config.layers))
    self.final_layernorm = nnx.LayerNorm(
      config.width, epsilon=config.norm_eps, dtype=jnp.float32, rngs=rngs
    )

  def __call__(
    self,
    x,
    sees,
    positions,
    cache: Cache | None = None,
    past: Sequence[Cache] = (),
  ):
    """Runs the decoder.

    Args:
      x: [..., T, D] embeddings.
      sees: who sees whom, see `attention.attend`: of each of `past` in turn,
        then of
        `cache`, or of the T tokens without one; or a `attention_mask.Packed` row.
      positions: int32[..., T], for the rotary embedding.
      cache: keys and values of earlier tokens, or None.
      past: full caches of tokens before those, which are only read.

    Returns:
      (hidden float32[..., T, D], the cache after T more tokens or None).
    """

    def block(x, layer_kv):
      layer, kv, past = layer_kv
      return layer(x, sees, positions, kv, cache and cache.index, past)

    if self.config.remat != 'none' and cache is None:
      block = jax.checkpoint(block, policy=REMAT[self.config.remat])
    kv = None if cache is None else (cache.k, cache.v)
    # Token by token, most of the time is reading weights, and a loop copies
    # them: on two CPU cores it takes a fifth more.
    single = cache is not None and x.shape[-2] == 1
    x, kv = jax.lax.scan(
      block,
      x.astype(self.config.dtype),
      (self.layers, kv, [(c.k, c.v) for c in past]),
      unroll=self.config.layers if single else self.config.unroll,
    )
    if cache is not None:
      cache = Cache(*kv, cache.index + x.shape[-2])
    return self.final_layernorm(x), cache
