"""CLIP text tower (arXiv 2103.00020): a causal transformer over tokens.

The feature of a text is the last norm of the token that ends it, so tokens
behind the end have no influence. The tower shares its blocks with the vision
tower (clip.py).
"""

import dataclasses
import typing

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import clip_layers
from hermesflow_jax.models import linear_layers
from hermesflow_jax.runtime import settings

# `eos` in configs of the first releases, whose tokenizers end a text otherwise.
HIGHEST_ID = 2


@dataclasses.dataclass(frozen=True)
class ClipTextConfig:
  """Sizes of the text tower; the defaults are those of ViT-B/32.

  Attributes:
    width: D, residual stream width.
    layers: L, block count.
    heads: N, attention heads; divides `width`.
    mlp: F, MLP width.
    vocab: V, number of token ids.
    length: largest number of tokens in a text.
    eos: id of the token that ends a text. The value 2, as in the configs of
      OpenAI's weights, means the highest id of the text.
    norm_eps: LayerNorm epsilon.
    activation: a key in `clip_layers.ACTIVATIONS`.
    dtype: dtype for activations and matrix products; parameters are float32.

  Raises:
    ValueError: a size is invalid.
  """

  width: settings.PositiveInt = 512
  layers: settings.PositiveInt = 12
  heads: settings.PositiveInt = 8
  mlp: settings.PositiveInt = 2048
  vocab: settings.PositiveInt = 49408
  length: settings.PositiveInt = 77
  eos: settings.NonNegativeInt = HIGHEST_ID
  norm_eps: settings.PositiveFloat = 1e-5
  activation: typing.Annotated[
    str, settings.one_of(*clip_layers.ACTIVATIONS)
  ] = 'quick_gelu'
  dtype: typing.Any = settings.numerics(default=jnp.float32)

  def __post_init__(self):
    settings.check(self)
    clip_layers.check_multiples(self, ('width', 'heads'))


class ClipText(nnx.Module):
  """Text tower."""

  def __init__(self, config: ClipTextConfig, *, rngs: nnx.Rngs):
    self.config = config

    def embedding(size):
      return linear_layers.Embed(
        size, config.width, dtype=config.dtype, rngs=rngs
      )

    self.token_embedding = embedding(config.vocab)
    self.position_embedding = embedding(config.length)
    self.layers = clip_layers.stacked_blocks(config, rngs)
    self.final_layernorm = clip_layers.norm(config, rngs)

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Computes the state of every token.

    Args:
      tokens: int[..., T], ids; T is at most `length`. Pads stand on the right;
        states before them do not depend on them.

    Returns:
      float32[..., T, D], after the last norm.

    Raises:
      ValueError: the rows are too long.
    """
    x = clip_layers.run_blocks(self.layers, self.embed(tokens), causal=True)
    return self.final_layernorm(x)

  def pooled(self, tokens: jax.Array) -> jax.Array:
    """Computes the feature of a text: the state of its last token.

    Args:
      tokens: int[..., T], ids of texts with their end token. It is the first
        `eos` of a row, or the first highest id if `eos` is 2.

    Returns:
      float32[..., D].

    Raises:
      ValueError: the rows are too long.
    """
    states = self(tokens)
    ends = tokens
    if self.config.eos != HIGHEST_ID:
      ends = tokens == self.config.eos
    index = jnp.argmax(ends, axis=-1)[..., None, None]
    return jnp.take_along_axis(states, index, axis=-2)[..., 0, :]

  def embed(self, tokens: jax.Array) -> jax.Array:
    """Computes the input of the first layer.

    Args:
      tokens: int[..., T], ids.

    Returns:
      [..., T, D].

    Raises:
      ValueError: the rows are too long.
    """
    size = tokens.shape[-1]
    if size > self.config.length:
      raise ValueError(
        f'tokens must have at most {self.config.length} ids in a row, got '
        f'{size}: cut the texts'
      )
    return self.token_embedding(tokens) + self.position_embedding(
      jnp.arange(size)
    )
