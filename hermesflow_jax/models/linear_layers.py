"""Linear layers and embeddings that sum gradients in float32.

A bfloat16 model multiplies in bfloat16, but its parameters are float32. The
gradient of a bias or an embedding row is a sum over many tokens: in a Pair-DPO
batch, about 45,000 tokens share the row of the mask token. A sum in bfloat16 is
wrong by 10 to 30%. So these layers cast a parameter after it is broadcast to
the tokens, not before; then the transposed operation casts to float32 first
and sums in float32. With dtype float32, these layers equal `nnx.Linear` and
`nnx.Embed` to the bit.
"""

from flax import nnx
import jax
import jax.numpy as jnp


class Linear(nnx.Linear):
  """`nnx.Linear` with a bias; products are computed in `dtype`."""

  def __call__(self, inputs: jax.Array) -> jax.Array:
    """Maps [..., inputs] to [..., outputs] in `dtype`."""
    y = _product(inputs.astype(self.dtype), self.kernel[...])
    bias = jnp.broadcast_to(self.bias[...], y.shape)
    return y + bias.astype(self.dtype)


class Embed(nnx.Embed):
  """`nnx.Embed` that casts only the rows it reads, not the whole table."""

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Maps ids int[...] to [..., D] in `dtype`; NaN for unknown ids."""
    return jnp.take(self.embedding[...], tokens, axis=0).astype(self.dtype)


class Head(nnx.Linear):
  """Linear layer to logits: operands in `dtype`, results in float32.

  Rounding a logit to bfloat16 has a relative error of up to 0.4%. Matrix
  products accumulate in float32 anyway, so float32 results are free.
  """

  def __call__(self, states: jax.Array) -> jax.Array:
    """Maps hidden states [..., D] to logits float32[..., V]."""
    return logits(states.astype(self.dtype), self.kernel[...], self.bias[...])


def logits(states: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  """Computes logits from hidden states.

  Args:
    states: [..., D], hidden states.
    kernel: [D, V], cast to the dtype of `states` for the product.
    bias: [V], added in float32.

  Returns:
    float32[..., V].
  """
  return _wide_product(states, kernel) + bias.astype(jnp.float32)


@jax.custom_vjp
def _wide_product(x, kernel):
  """Multiplies x @ kernel with a float32 result.

  The backward pass casts the gradient to the dtype of x. By default JAX would
  multiply in float32, which is several times slower on accelerators.
  """
  return _product(x, kernel, jnp.float32)


def _wide_product_forward(x, kernel):
  return _wide_product(x, kernel), (x, kernel)


def _wide_product_backward(operands, gradient):
  _, transposed = jax.vjp(_product, *operands)
  return transposed(gradient.astype(operands[0].dtype))


_wide_product.defvjp(_wide_product_forward, _wide_product_backward)


def _product(x, kernel, dtype=None):
  """Multiplies [..., D] and [D, F] in the dtype of x."""
  return jax.lax.dot_general(
    x,
    kernel.astype(x.dtype),
    (((x.ndim - 1,), (0,)), ((), ())),
    preferred_element_type=dtype,
  )
