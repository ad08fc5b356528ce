"""Lookup-free quantization: the signs of a latent form its code.

Language Model Beats Diffusion (arXiv 2310.05737), section 3.1. A latent with Z
channels has 2^Z codes and needs no codebook. Each channel is an independent
bit, z > 0, with the values -1 and +1. Its soft version has the logits
-(z - bit)^2, so p(bit = 1) = sigmoid(4 z).
"""

import jax
import jax.numpy as jnp


def quantize(z: jax.Array) -> jax.Array:
  """Rounds latents to bits with a straight-through gradient.

  Args:
    z: float[..., Z], latents.

  Returns:
    float[..., Z] with values -1 and +1, same dtype as `z`.
  """
  return z + jax.lax.stop_gradient(_signs(z) - z)


def expected_bits(z: jax.Array) -> jax.Array:
  """Returns the mean soft bits, 2 sigmoid(4 z) - 1: float[..., Z]."""
  return jnp.tanh(2 * z)


def pack(z: jax.Array) -> jax.Array:
  """Packs latents or bits to codes.

  Args:
    z: float[..., Z]; bit c is z[..., c] > 0, and channel 0 is the most
      significant bit.

  Returns:
    int32[...] in [0, 2^Z).
  """
  powers = 1 << jnp.arange(z.shape[-1] - 1, -1, -1, dtype=jnp.int32)
  return jnp.sum((z > 0) * powers, axis=-1, dtype=jnp.int32)


def unpack(codes: jax.Array, channels: int) -> jax.Array:
  """Unpacks codes to bits; the inverse of `pack`.

  Args:
    codes: int[...] in [0, 2^channels).
    channels: Z, bits per code.

  Returns:
    float32[..., Z] with values -1 and +1.
  """
  shifts = jnp.arange(channels - 1, -1, -1, dtype=jnp.int32)
  bits = (codes[..., None].astype(jnp.int32) >> shifts) & 1
  return 2.0 * bits.astype(jnp.float32) - 1.0


def entropy_loss(z: jax.Array) -> jax.Array:
  """Computes the entropy loss of the soft bits, in nats.

  The mean entropy of the soft bits minus the entropy of the mean bit. The
  first term makes latents decided, the second makes both values of a bit
  frequent. Bits are independent, hence the mean over channels. The loss lies
  between -log 2 (best) and 0.

  Args:
    z: float[..., Z], latents.

  Returns:
    float32[], not weighted (the official weight is 0.1).
  """
  logits = 4.0 * z.astype(jnp.float32).reshape(-1, z.shape[-1])
  probability = jax.nn.sigmoid(logits)
  entropy = jax.nn.softplus(logits) - probability * logits
  # The gradient at a mean of exactly 0 or 1 is infinite.
  smallest = jnp.finfo(jnp.float32).eps
  mean = jnp.clip(jnp.mean(probability, axis=0), smallest, 1 - smallest)
  mean_entropy = -mean * jnp.log(mean) - (1 - mean) * jnp.log1p(-mean)
  return jnp.mean(entropy) - jnp.mean(mean_entropy)


def commitment_loss(z: jax.Array) -> jax.Array:
  """Computes the mean squared distance between latents and their bits.

  The official loss has the weight 0.1 x (1 + 0.25): it adds the same distance
  with the gradient for the codebook. Without a codebook, a single term with
  the summed weight has the same value; only latents get a gradient.

  Args:
    z: float[..., Z], latents.

  Returns:
    float32[], not weighted.
  """
  z = z.astype(jnp.float32)
  return jnp.mean(jnp.square(jax.lax.stop_gradient(_signs(z)) - z))


def _signs(z: jax.Array) -> jax.Array:
  """Returns -1 and +1; zero maps to -1, as in `pack`."""
  return jnp.where(z > 0, 1, -1).astype(z.dtype)
