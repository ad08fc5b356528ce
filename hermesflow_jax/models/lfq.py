"""Lookup-free quantization: a latent's signs are its code.

Language Model Beats Diffusion (arXiv 2310.05737), section 3.1. A latent of Z
channels has 2^Z codes and no codebook. Each channel is read on its own as the
bit z > 0 with values -1 and +1, and as a soft bit with logits -(z - bit)^2,
so that p(bit = 1) = sigmoid(4 z).
"""

import jax
import jax.numpy as jnp


def quantize(z: jax.Array) -> jax.Array:
  """Rounds latents to bits, with the gradient of the identity.

  Args:
    z: float[..., Z].

  Returns:
    float[..., Z] of -1 and +1, of the dtype of z.
  """
  return z + jax.lax.stop_gradient(_signs(z) - z)


def expected_bits(z: jax.Array) -> jax.Array:
  """The mean of the soft bits, 2 sigmoid(4 z) - 1: float[..., Z] in (-1, 1)."""
  return jnp.tanh(2 * z)


def pack(z: jax.Array) -> jax.Array:
  """Codes of latents or bits.

  Args:
    z: float[..., Z]; bit c is z[..., c] > 0, channel 0 most significant.

  Returns:
    int32[...] in [0, 2^Z).
  """
  powers = 1 << jnp.arange(z.shape[-1] - 1, -1, -1, dtype=jnp.int32)
  return jnp.sum((z > 0) * powers, axis=-1, dtype=jnp.int32)


def unpack(codes: jax.Array, channels: int) -> jax.Array:
  """Bits of codes, the inverse of `pack`.

  Args:
    codes: int[...] in [0, 2^channels).
    channels: Z.

  Returns:
    float32[..., Z] of -1 and +1.
  """
  shifts = jnp.arange(channels - 1, -1, -1, dtype=jnp.int32)
  bits = (codes[..., None].astype(jnp.int32) >> shifts) & 1
  return 2.0 * bits.astype(jnp.float32) - 1.0


def entropy_loss(z: jax.Array) -> jax.Array:
  """Entropy of the soft bits less the entropy of their mean, in nats.

  The first term wants each latent decided, the second wants each bit used
  both ways over all positions. Bits are independent, hence the mean over
  channels. Between -log 2 (best) and 0.

  Args:
    z: float[..., Z].

  Returns:
    float32 scalar, not weighted (the official weight is 0.1).
  """
  logits = 4.0 * z.astype(jnp.float32).reshape(-1, z.shape[-1])
  probability = jax.nn.sigmoid(logits)
  each = jax.nn.softplus(logits) - probability * logits
  # A mean of just 0 or 1 has no finite gradient.
  smallest = jnp.finfo(jnp.float32).eps
  mean = jnp.clip(jnp.mean(probability, axis=0), smallest, 1 - smallest)
  of_mean = -mean * jnp.log(mean) - (1 - mean) * jnp.log1p(-mean)
  return jnp.mean(each) - jnp.mean(of_mean)


def commitment_loss(z: jax.Array) -> jax.Array:
  """Mean squared distance of latents to their own bits.

  The official value, weight 0.1 x (1 + 0.25), adds the same distance with the
  gradient on the bits' side. There is no codebook to move, so one term with
  the summed weight has that value; only latents are pulled.

  Args:
    z: float[..., Z].

  Returns:
    float32 scalar, not weighted.
  """
  z = z.astype(jnp.float32)
  return jnp.mean(jnp.square(jax.lax.stop_gradient(_signs(z)) - z))


def _signs(z: jax.Array) -> jax.Array:
  """-1 and +1; zero counts as -1, as in `pack`."""
  return jnp.where(z > 0, 1, -1).astype(z.dtype)
