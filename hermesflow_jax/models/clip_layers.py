"""Transformer layers that the vision and the text tower of CLIP share.

A block computes x + attention(norm x), then x + mlp(norm x) (arXiv 2103.00020).
The parameters of all blocks are stacked along a leading axis and scanned.
Norms and softmaxes are float32.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.runtime import sharding

# Names as in `config.json`: OpenAI's weights have quick_gelu, OpenCLIP's gelu.
ACTIVATIONS = {
  'quick_gelu': lambda x: x * jax.nn.sigmoid(1.702 * x),
  'gelu': functools.partial(jax.nn.gelu, approximate=False),
}


def check_multiples(config, *pairs: tuple[str, str]) -> None:
  """Raises ValueError if a size is no multiple of another.

  Args:
    config: dataclass with sizes.
    *pairs: (name of a size, name of its divisor).
  """
  for name, part in pairs:
    if getattr(config, name) % getattr(config, part):
      raise ValueError(
        f'{name} must be a multiple of {part} ({getattr(config, part)}), got '
        f'{getattr(config, name)}'
      )


def norm(config, rngs: nnx.Rngs) -> nnx.LayerNorm:
  """Returns a LayerNorm over `config.width`, computed in float32."""
  return nnx.LayerNorm(
    config.width, epsilon=config.norm_eps, dtype=jnp.float32, rngs=rngs
  )


class Block(nnx.Module):
  """Transformer block: x + attention(norm x), then x + mlp(norm x).

  Args:
    config: `clip.ClipConfig` or `clip_text.ClipTextConfig`.
    rngs: random keys of the parameters.
  """

  def __init__(self, config, *, rngs: nnx.Rngs):
    self.config = config

    def linear(inputs, outputs):
      return nnx.Linear(inputs, outputs, dtype=config.dtype, rngs=rngs)

    width = config.width
    self.layer_norm1 = norm(config, rngs)
    self.q_proj = linear(width, width)
    self.k_proj = linear(width, width)
    self.v_proj = linear(width, width)
    self.out_proj = linear(width, width)
    self.layer_norm2 = norm(config, rngs)
    self.fc1 = linear(width, config.mlp)
    self.fc2 = linear(config.mlp, width)

  def __call__(self, x: jax.Array, causal: bool = False) -> jax.Array:
    """Applies the block.

    Args:
      x: [..., T, D], residual stream.
      causal: whether a token sees only itself and the tokens before it.

    Returns:
      [..., T, D], same dtype as `x`.
    """
    c = self.config

    def heads(a):
      return a.reshape(-1, a.shape[-2], c.heads, c.width // c.heads)

    y = self.layer_norm1(x).astype(c.dtype)
    q, k, v = (heads(f(y)) for f in (self.q_proj, self.k_proj, self.v_proj))
    y = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
    x = x + self.out_proj(y.reshape(x.shape))
    y = self.fc1(self.layer_norm2(x).astype(c.dtype))
    x = x + self.fc2(ACTIVATIONS[c.activation](y))
    return sharding.constrain(x)


def stacked_blocks(config, rngs: nnx.Rngs) -> Block:
  """Returns `config.layers` blocks, their parameters stacked in front."""

  @jax.vmap
  def make(key):
    return Block(config, rngs=nnx.Rngs(key))

  return make(jax.random.split(rngs.params(), config.layers))


def run_blocks(blocks: Block, x: jax.Array, causal: bool = False) -> jax.Array:
  """Applies stacked blocks in order.

  Args:
    blocks: blocks with their parameters stacked.
    x: [..., T, D], embeddings.
    causal: see `Block`.

  Returns:
    [..., T, D], output of the last block.
  """
  x, _ = jax.lax.scan(
    lambda x, block: (block(x, causal=causal), None), x, blocks
  )
  return x


def hidden_states(
  blocks: Block, x: jax.Array, causal: bool = False
) -> jax.Array:
  """Returns the embeddings and the output of every block, for comparisons.

  Args:
    blocks: L blocks with their parameters stacked.
    x: [..., T, D], embeddings.
    causal: see `Block`.

  Returns:
    [L + 1, ..., T, D].
  """

  def step(x, block):
    y = block(x, causal=causal)
    return y, y

  _, states = jax.lax.scan(step, x, blocks)
  return jnp.concatenate([x[None], states])
