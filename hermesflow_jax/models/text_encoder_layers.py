"""Layers of text encoders: sizes, transformer blocks, pooling.

BERT (arXiv 1810.04805) and MPNet (arXiv 2004.09297) share them: blocks with
LayerNorm after each sum, exact GELU, and attention to all tokens of a text.
"""

import dataclasses
import typing

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import linear_layers
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Sizes of a text encoder.

  Attributes:
    vocab: V, number of token ids.
    width: D, residual stream width.
    layers: L, block count.
    heads: N, attention heads; divides `width`.
    mlp: F, MLP width.
    positions: rows of the table of position embeddings.
    norm_eps: LayerNorm epsilon.
    pooler: whether the weights hold a pooler, a layer on top of the first
      token. No pool of this library reads it; it is converted back.
    dtype: 'float32' or 'bfloat16', for matrix products; parameters, norms,
      softmaxes and the residual stream are float32.

  Raises:
    ValueError: a size is invalid.
  """

  vocab: settings.PositiveInt
  width: settings.PositiveInt
  layers: settings.PositiveInt
  heads: settings.PositiveInt
  mlp: settings.PositiveInt
  positions: settings.PositiveInt
  norm_eps: settings.PositiveFloat
  pooler: bool = True
  dtype: typing.Annotated[str, settings.one_of('float32', 'bfloat16')] = (
    settings.numerics(default='float32', kw_only=True)
  )

  def __post_init__(self):
    settings.check(self)
    if self.width % self.heads:
      raise ValueError(
        f'width must be a multiple of heads ({self.heads}), got {self.width}'
      )

  @property
  def longest(self) -> int:
    """Most tokens in a row."""
    return self.positions


def norm(config: EncoderConfig, rngs: nnx.Rngs) -> nnx.LayerNorm:
  """Returns a LayerNorm over D in float32."""
  return nnx.LayerNorm(
    config.width, epsilon=config.norm_eps, dtype=jnp.float32, rngs=rngs
  )


def linear(
  config: EncoderConfig, inputs: int, outputs: int, rngs: nnx.Rngs
) -> linear_layers.Linear:
  """Returns a linear layer with a bias, computed in `config.dtype`."""
  return linear_layers.Linear(
    inputs, outputs, dtype=jnp.dtype(config.dtype), rngs=rngs
  )


def table(config: EncoderConfig, rows: int, rngs: nnx.Rngs):
  """Returns an embedding table float32[rows, D]."""
  return linear_layers.Embed(rows, config.width, dtype=jnp.float32, rngs=rngs)


class Block(nnx.Module):
  """Transformer block: y = norm(x + attention x), then norm(y + mlp y)."""

  def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
    self.config = config
    width = config.width
    self.q_proj = linear(config, width, width, rngs)
    self.k_proj = linear(config, width, width, rngs)
    self.v_proj = linear(config, width, width, rngs)
    self.dense = linear(config, width, width, rngs)
    self.attention_layernorm = norm(config, rngs)
    self.fc1 = linear(config, width, config.mlp, rngs)
    self.fc2 = linear(config, config.mlp, width, rngs)
    self.mlp_layernorm = norm(config, rngs)

  def __call__(
    self, x: jax.Array, mask: jax.Array, bias: jax.Array | None
  ) -> jax.Array:
    """Applies the block.

    Args:
      x: float32[B, T, D], residual stream.
      mask: bool[B, T], true for tokens, false for pads.
      bias: float32[N, T, T], added to attention scores; None for none.

    Returns:
      float32[B, T, D].
    """
    c = self.config
    q, k, v = (
      f(x).reshape(*x.shape[:-1], c.heads, c.width // c.heads)
      for f in (self.q_proj, self.k_proj, self.v_proj)
    )
    # Scores and softmax are float32.
    attended = jax.nn.dot_product_attention(
      q,
      k,
      v,
      bias=None if bias is None else bias[None],
      mask=mask[:, None, None, :],
    )
    x = self.attention_layernorm(x + self.dense(attended.reshape(x.shape)))
    hidden = jax.nn.gelu(self.fc1(x), approximate=False)
    return sharding.constrain(self.mlp_layernorm(x + self.fc2(hidden)))


class Encoder(nnx.Module):
  """Blocks, whose parameters are stacked, over embeddings of a subclass."""

  def __init__(self, config: EncoderConfig, *, rngs: nnx.Rngs):
    self.config = config
    self.embed = table(config, config.vocab, rngs)
    self.position_embedding = table(config, config.positions, rngs)
    self.embed_layernorm = norm(config, rngs)

    @jax.vmap
    def make(key):
      return Block(config, rngs=nnx.Rngs(key))

    self.layers = make(jax.random.split(rngs.params(), config.layers))
    if config.pooler:
      self.pooler = linear(config, config.width, config.width, rngs)

  def with_dtype(self, dtype: str) -> 'Encoder':
    """Returns an encoder of the same arrays with products in another dtype."""
    config = dataclasses.replace(self.config, dtype=dtype)
    abstract = abstract_modules.abstract_module(type(self), config)
    return jax.tree.unflatten(
      jax.tree.structure(abstract), jax.tree.leaves(self)
    )

  def embeddings(self, tokens: jax.Array) -> jax.Array:
    """Embeds token ids int32[B, T], before the norm: float32[B, T, D]."""
    raise NotImplementedError

  def attention_bias(self, length: int) -> jax.Array | None:
    """Returns what is added to attention scores: float32[N, T, T] or None."""
    del length

  def __call__(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Encodes texts.

    Args:
      tokens: int32[B, T], with the tokens of start and end, padded on the right
        to T <= `config.longest`.
      mask: bool[B, T], true for tokens, false for pads.

    Returns:
      float32[B, T, D], last hidden states.
    """
    return self._run(tokens, mask, keep=False)[0]

  def hidden_states(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the hidden states of all layers.

    Args:
      tokens: see `__call__`.
      mask: see `__call__`.

    Returns:
      float32[L + 1, B, T, D]; the embeddings come first.
    """
    return self._run(tokens, mask, keep=True)[1]

  def _run(self, tokens, mask, keep):
    if tokens.shape[-1] > self.config.longest:
      raise ValueError(
        f'tokens must have at most {self.config.longest} places, got '
        f'{tokens.shape[-1]}'
      )
    bias = self.attention_bias(tokens.shape[-1])
    start = self.embed_layernorm(self.embeddings(tokens))

    def block(x, layer):
      x = layer(x, mask, bias)
      return x, x if keep else None

    x, states = jax.lax.scan(block, start, self.layers)
    if keep:
      states = jnp.concatenate([start[None], states])
    return x, states
