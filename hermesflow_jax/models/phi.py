"""The Phi decoder: parallel attention and MLP blocks, stacked and scanned.

Phi-1.5 (arXiv 2309.05463) with the changes of Show-o: a single LayerNorm feeds
attention and MLP in parallel, queries and keys are normalized per head, a
rotary embedding rotates only the first channels of each head, and every linear
layer has a bias.
"""

from collections.abc import Sequence
import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import attention
from hermesflow_jax.models import linear_layers
from hermesflow_jax.models import phi_config
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import attention_mask

# By `phi_config.REMAT`.
_POLICIES = {
  'none': None,
  'full': jax.checkpoint_policies.nothing_saveable,
  'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}

# Its name for programs that build a decoder.
PhiConfig = phi_config.PhiConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """Keys and values of earlier tokens, in buffers of fixed size.

  Attributes:
    k: [L, ..., S, N, H], keys after norm and rotation.
    v: [L, ..., S, N, H], values.
    index: int32[], slot to which the next call writes its first token.
  """

  k: jax.Array
  v: jax.Array
  index: jax.Array

  @property
  def size(self) -> int:
    """S, the capacity in tokens."""
    return self.k.shape[-3]

  def put(self, other: 'Cache', start) -> 'Cache':
    """Returns a copy with the tokens of `other` written to slot `start`."""

    def write(a, b):
      return jax.lax.dynamic_update_slice_in_dim(a, b, start, axis=-3)

    return dataclasses.replace(
      self, k=write(self.k, other.k), v=write(self.v, other.v)
    )

  @classmethod
  def empty(cls, config: PhiConfig, batch: tuple[int, ...], size: int):
    """Returns a cache of zeros with capacity for `size` tokens per row."""
    shape = (config.layers, *batch, size, config.heads, config.head_size)
    zeros = jnp.zeros(shape, config.dtype)
    return cls(zeros, zeros, jnp.zeros((), jnp.int32))


def rotary_waves(positions: jax.Array, size: int, theta: float):
  """Computes the angles of a rotary embedding (arXiv 2104.09864).

  Args:
    positions: int[..., T], token positions.
    size: rotated channels per head; even.
    theta: frequency base.

  Returns:
    (cosines, sines), float32[..., T, 1, size / 2] each, for `rotate`.
  """
  frequencies = theta ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
  angles = positions[..., None, None].astype(jnp.float32) * frequencies
  return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
  """Rotates channel i of every head with channel i + size / 2, in float32.

  Args:
    x: [..., T, N, H], queries or keys.
    cos: float32[..., T, 1, size / 2], from `rotary_waves`.
    sin: float32[..., T, 1, size / 2], from `rotary_waves`.

  Returns:
    [..., T, N, H], same dtype as `x`.
  """
  size = 2 * cos.shape[-1]
  a, b = jnp.split(x[..., :size].astype(jnp.float32), 2, axis=-1)
  rotated = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
  return jnp.concatenate([rotated.astype(x.dtype), x[..., size:]], axis=-1)


class Block(nnx.Module):
  """Parallel block: x + dense(attention(y)) + fc2(gelu(fc1(y))), y = norm x."""

  def __init__(self, config: PhiConfig, *, rngs: nnx.Rngs):
    self.config = config
    width, mlp = config.width, config.mlp

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

  def __call__(
    self, x, mask, positions, kv=None, index=None, past=(), places=None
  ):
    """Applies the block.

    Args:
      x: [..., T, D], residual stream.
      mask: see `Phi.__call__`.
      positions: int[..., T], for the rotary embedding.
      kv: cache of this layer, two arrays [..., S, N, H]; or None.
      index: int32[], slot of the cache to which the first token is written.
      past: (k, v) pairs before `kv`, read-only.
      places: int32[R], see `Phi.__call__`; or None.

    Returns:
      (x [..., T, D], or [..., R, D] with places; the updated cache or None).
    """
    c = self.config
    y = self.input_layernorm(x).astype(c.dtype)
    *qkv, mlp = self._enter(y, places)
    q, k, v = (a.reshape(*a.shape[:-1], c.heads, c.head_size) for a in qkv)
    q, k = self.q_layernorm(q), self.k_layernorm(k)
    waves = rotary_waves(positions, c.rotary_size, c.rope_theta)
    x, *query_waves = (
      _at(a, places, n) for a, n in zip((x, *waves), (2, 3, 3))
    )
    q = rotate(q, *query_waves).astype(c.dtype)
    k = rotate(k, *waves).astype(c.dtype)
    if kv is not None:
      write = jax.lax.dynamic_update_slice_in_dim
      k, v = kv = (
        write(kv[0], k.astype(kv[0].dtype), index, axis=-3),
        write(kv[1], v.astype(kv[1].dtype), index, axis=-3),
      )
    backend = attention.choose_backend(c.attention, jax.default_backend())
    if isinstance(mask, attention_mask.Packed):
      out = attention.packed_attention(q, k, v, mask, backend)
    else:
      out = attention.attend(q, [*past, (k, v)], mask, backend)
    mlp = jax.nn.gelu(mlp, approximate=True)
    x = x + self._leave(out.reshape(x.shape), mlp)
    return sharding.constrain(x), kv

  def _enter(self, y, places=None):
    """Projects to queries, keys, values [..., T, D] and the MLP [..., T, F].

    With places int32[R], queries and MLP are [..., R, D] and [..., R, F].
    """
    z = _at(y, places, 2)
    return self.q_proj(z), self.k_proj(y), self.v_proj(y), self.fc1(z)

  def _leave(self, attended, mlp):
    """Projects attention and MLP back to the residual stream, [..., T, D]."""
    return self.dense(attended) + self.fc2(mlp)


def unrolls_all(config: PhiConfig) -> bool:
  """Returns whether blocks without a cache are repeated, not looped over."""
  return config.unroll >= config.layers


def _at(values, places, axis: int):
  """Returns values at places int32[R] of the axis `axis` from the end."""
  if places is None:
    return values
  return jnp.take(values, places, axis=values.ndim - axis)


class Phi(nnx.Module):
  """Decoder: L blocks, whose parameters are stacked, and a final LayerNorm."""

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
    mask: attention_mask.Mask | Sequence[attention_mask.Mask],
    positions,
    cache: Cache | None = None,
    past: Sequence[Cache] = (),
    places: jax.Array | None = None,
  ):
    """Runs the decoder.

    Args:
      x: [..., T, D], embeddings.
      mask: mask over all keys, bool[..., T, S]; or a list with a mask for each
        cache of `past`, followed by the mask over `cache`, or over the T
        tokens if `cache` is None (see `attention.attend`); or an
        `attention_mask.Packed` row, without caches.
      positions: int32[..., T], for the rotary embedding.
      cache: earlier keys and values, or None.
      past: full caches before `cache`, read-only.
      places: int32[R], tokens whose hidden states are wanted; None for all T.
        All tokens must have the same mask.

    Returns:
      (hidden states float32[..., T, D], or [..., R, D] with places; the cache
      after these T tokens or None).
    """

    def block(x, layer_kv, places=None):
      layer, kv, past = layer_kv
      return layer(x, mask, positions, kv, cache and cache.index, past, places)

    if self.config.remat != 'none' and cache is None:
      block = jax.checkpoint(block, policy=_POLICIES[self.config.remat])
    kv = None if cache is None else (cache.k, cache.v)
    # With a single token, reading the weights takes most of the time, and a
    # loop copies them: it takes a fifth longer on two CPU cores.
    single = cache is not None and x.shape[-2] == 1
    x = x.astype(self.config.dtype)
    layers = self.layers, kv, [(c.k, c.v) for c in past]
    if cache is None and unrolls_all(self.config):
      # The first block computes once what rows of a `jax.vmap` share, and the
      # last block computes only the places that are read.
      for n in range(self.config.layers):
        is_last = n == self.config.layers - 1
        layer = jax.tree.map(lambda a, n=n: a[n], layers)
        x, _ = block(x, layer, places if is_last else None)
    else:
      x, kv = jax.lax.scan(
        block,
        x,
        layers,
        unroll=self.config.layers if single else self.config.unroll,
      )
      x = _at(x, places, 2)
    if cache is not None:
      cache = Cache(*kv, cache.index + x.shape[-2])
    return self.final_layernorm(x), cache
