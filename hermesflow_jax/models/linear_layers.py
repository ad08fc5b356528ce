"""Linear layers and embeddings whose gradients are summed in float32.

A bfloat16 model multiplies in bfloat16, but its parameters are float32. A bias
or a row of the embedding gets the sum of the gradients of many tokens: in a
batch of Pair-DPO, some 45,000 tokens share the row of the mask token. Added up
in bfloat16, such a sum is wrong by 10 to 30%. So these layers cast a parameter
after it was spread over the tokens, not before: the transposed operation then
casts first and adds up in float32. In float32 they are `nnx.Linear` and
`nnx.Embed` to the bit.
"""

from flax import nnx
import jax
import jax.numpy as jnp


class Linear(nnx.Linear):
  """`nnx.Linear` with a bias; products are computed in `dtype`."""

  def __call__(self, inputs: jax.Array) -> jax.Array:
    """[..., inputs] -> [..., outputs], of `dtype`."""
    y = _product(inputs.astype(self.dtype), self.kernel[...])
    bias = jnp.broadcast_to(self.bias[...], y.shape)
    return y + bias.astype(self.dtype)


class Embed(nnx.Embed):
  """`nnx.Embed`; the rows that tokens need are cast, not the whole table."""

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """int[...] -> [..., D], of `dtype`; NaN for ids that do not exist."""
    return jnp.take(self.embedding[...], tokens, axis=0).astype(self.dtype)


class Head(nnx.Linear):
  """A linear layer to logits: factors in `dtype`, results in float32.

  A logit that is rounded to bfloat16 is wrong by up to 0.4% of its size. The
  sum of a product is float32 anyway, so this costs nothing.
  """

  def __call__(self, states: jax.Array) -> jax.Array:
    """[..., D] -> float32[..., V]."""
    return logits(states.astype(self.dtype), self.kernel[...], self.bias[...])


def logits(states: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  """Returns float32[..., V], products in the dtype of the states.

  Args:
    states: [..., D].
    kernel: [D, V], cast to the dtype of the states.
    bias: [V], added in float32.
  """
  return _wide_product(states, kernel) + bias.astype(jnp.float32)


@jax.custom_vjp
def _wide_product(x, kernel):
  """x @ kernel with a float32 result.

  The gradient is cast to the dtype of x before it is multiplied. Left alone,
  JAX multiplies it in float32, several times slower on accelerators.
  """
  return _product(x, kernel, jnp.float32)


def _wide_product_forward(x, kernel):
  return _wide_product(x, kernel), (x, kernel)


def _wide_product_backward(operands, gradient):
  _, transposed = jax.vjp(_product, *operands)
  return transposed(gradient.astype(operands[0].dtype))


_wide_product.defvjp(_wide_product_forward, _wide_product_backward)


def _product(x, kernel, dtype=None):
  """[..., D] and [D, F] -> [..., F], factors in the dtype of x."""
  return jax.lax.dot_general(
    x,
    kernel.astype(x.dtype),
    (((x.ndim - 1,), (0,)), ((), ())),
    preferred_element_type=dtype,
  )
