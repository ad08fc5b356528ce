"""The loss that trains the image tokenizer.

It adds MAGVIT-v2's two quantizer losses (arXiv 2310.05737, section 3.1) to the
reconstruction error. Two options help on small worlds: fewer images are
quantized during a warm-up, and foreground pixels can weigh more.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.models import lfq
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings

with lazy_modules.on_first_use():
  from hermesflow_jax.models import magvit

# A channel (of range 2) further than this from the background is foreground.
_DIFFERENCE = 0.1


@dataclasses.dataclass(frozen=True)
class LossWeights:
  """Loss weights.

  Attributes:
    entropy: weight for `lfq.entropy_loss` (official: 0.1).
    commitment: weight for `lfq.commitment_loss` (official: 0.1 x (1 + 0.25)).
    foreground: weight for foreground pixels; background pixels weigh 1.
  """

  entropy: settings.NonNegativeFloat
  commitment: settings.NonNegativeFloat
  foreground: settings.NonNegativeFloat

  def __post_init__(self):
    settings.check(self)


def loss(
  model: magvit.Magvit,
  pixels: jax.Array,
  key: jax.Array,
  quantize_mix: jax.Array | float,
  *,
  weights: LossWeights,
  error: Callable[[jax.Array], jax.Array] = jnp.square,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns the loss of a batch of images, and its metrics.

  Args:
    model: image tokenizer.
    pixels: float[B, H, W, 3] in [-1, 1].
    key: random key that picks the images to quantize.
    quantize_mix: probability in [0, 1] that an image passes through the
      quantizer; 1 after the warm-up. For other images the decoder gets the
      expected bits, so that early training has smooth latents.
    weights: weights for the terms.
    error: elementwise error of decoded - pixels: jnp.square or jnp.abs.

  Returns:
    (float32[], {name: float32[]}): loss, terms before weighting, and
    distinct codes in the batch.
  """
  z = model.encode(pixels)
  quantized = jax.random.uniform(key, [z.shape[0], 1, 1, 1]) < quantize_mix
  latents = jnp.where(quantized, lfq.quantize(z), lfq.expected_bits(z))
  errors = error(model.decode_latents(latents) - pixels)
  per_pixel = pixel_weights(pixels, weights.foreground)
  reconstruction = jnp.mean(errors * per_pixel[..., None])
  entropy = lfq.entropy_loss(z)
  commitment = lfq.commitment_loss(z)
  total = (
    reconstruction + weights.entropy * entropy + weights.commitment * commitment
  )
  used = jnp.zeros([model.config.codebook_size]).at[model.codes(z)].set(1.0)
  return total, {
    'loss/total': total,
    'loss/reconstruction': reconstruction,
    'loss/entropy': entropy,
    'loss/commitment': commitment,
    'codes/distinct': jnp.sum(used),
  }


def pixel_weights(pixels: jax.Array, foreground: float) -> jax.Array:
  """Returns pixel weights with mean 1.

  A pixel is foreground if it differs from the median color along the
  image's border.

  Args:
    pixels: float[B, H, W, 3] in [-1, 1].
    foreground: weight for foreground pixels; background pixels weigh 1.

  Returns:
    float32[B, H, W], mean 1 over the batch.
  """
  border = jnp.concatenate(
    [pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1]],
    axis=1,
  )
  background = jnp.median(border, axis=1)[:, None, None]
  differs = jnp.any(jnp.abs(pixels - background) > _DIFFERENCE, axis=-1)
  weights = jnp.where(differs, jnp.float32(foreground), 1.0)
  return weights / jnp.mean(weights)
