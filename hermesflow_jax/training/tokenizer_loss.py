"""The loss that trains the image tokenizer.

Reconstruction, plus the two quantizer losses of MAGVIT-v2 (arXiv 2310.05737,
section 3.1) under weights. Two helps for small worlds: the quantizer can come
in over a warm-up, and pixels off the background can weigh more.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp

from hermesflow_jax.models import lfq
from hermesflow_jax.models import magvit
from hermesflow_jax.runtime import settings

# A channel (of range 2) further than this from the background is foreground.
_DIFFERENCE = 0.1


@dataclasses.dataclass(frozen=True)
class LossWeights:
  """Weights of the loss.

  Attributes:
    entropy: of lfq.entropy_loss (official: 0.1).
    commitment: of lfq.commitment_loss (official: 0.1 x (1 + 0.25)).
    foreground: of a foreground pixel against 1 for a background pixel; 1
      weighs all alike.
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
  """Loss of a batch of images.

  Args:
    model: the tokenizer.
    pixels: float[B, H, W, 3] in [-1, 1].
    key: draws the images whose latents are quantized.
    quantize_mix: probability in [0, 1] that an image passes through the
      quantizer. The others reach the decoder as expected bits, so that a young
      decoder learns from smooth latents. 1 once the warm-up is over.
    weights: of the parts.
    error: elementwise, on decoded - pixels: jnp.square (L2) or jnp.abs (L1).

  Returns:
    float32 scalar, and a flat dict of float32 scalars: the unweighted parts
    and the number of distinct codes in the batch.
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
  """Weights of pixels by whether they differ from the image's border.

  The background is the median colour of the outermost rows and columns.

  Args:
    pixels: float[B, H, W, 3] in [-1, 1].
    foreground: weight of a differing pixel against 1 for the others.

  Returns:
    float32[B, H, W] of mean 1 over the batch.
  """
  border = jnp.concatenate(
    [pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1]],
    axis=1,
  )
  background = jnp.median(border, axis=1)[:, None, None]
  differs = jnp.any(jnp.abs(pixels - background) > _DIFFERENCE, axis=-1)
  weights = jnp.where(differs, jnp.float32(foreground), 1.0)
  return weights / jnp.mean(weights)
