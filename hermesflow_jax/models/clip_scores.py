"""CLIP (arXiv 2103.00020): images and texts as vectors that can be compared.

Both towers are projected to the same space and scaled to unit length, so the
product of two features is the cosine of their angle.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import clip
from hermesflow_jax.models import clip_text
from hermesflow_jax.runtime import settings

# Logarithm of the factor of the logits before training (section 2.5).
INITIAL_SCALE = 2.6592


@dataclasses.dataclass(frozen=True)
class ClipModelConfig:
  """Sizes of both towers; see VIT_B_32, VIT_L_14 and VIT_L_14_336.

  Attributes:
    vision: sizes of the vision tower.
    text: sizes of the text tower.
    features: P, width of the common space.

  Raises:
    ValueError: a size is invalid.
  """

  vision: clip.ClipConfig
  text: clip_text.ClipTextConfig
  features: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)

  def with_dtype(self, dtype) -> 'ClipModelConfig':
    """Returns the config with both towers computed in a dtype.

    Args:
      dtype: jnp.float32 or jnp.bfloat16.
    """
    return dataclasses.replace(
      self,
      vision=dataclasses.replace(self.vision, dtype=dtype),
      text=dataclasses.replace(self.text, dtype=dtype),
    )


VIT_B_32 = ClipModelConfig(
  vision=clip.ClipConfig(
    width=768, layers=12, heads=12, mlp=3072, patch=32, image=224
  ),
  text=clip_text.ClipTextConfig(),
  features=512,
)
VIT_L_14 = ClipModelConfig(
  vision=clip.ClipConfig(image=224),
  text=clip_text.ClipTextConfig(width=768, heads=12, mlp=3072),
  features=768,
)
VIT_L_14_336 = dataclasses.replace(VIT_L_14, vision=clip.ClipConfig())


class ClipModel(nnx.Module):
  """Both towers, their projections and the factor of the logits."""

  def __init__(self, config: ClipModelConfig, *, rngs: nnx.Rngs):
    self.config = config

    def projection(width):
      return nnx.Linear(
        width, config.features, use_bias=False, dtype=jnp.float32, rngs=rngs
      )

    self.vision = clip.Clip(config.vision, rngs=rngs)
    self.text = clip_text.ClipText(config.text, rngs=rngs)
    self.visual_projection = projection(config.vision.width)
    self.text_projection = projection(config.text.width)
    self.logit_scale = nnx.Param(jnp.asarray(INITIAL_SCALE, jnp.float32))

  def image_features(self, pixels: jax.Array) -> jax.Array:
    """Computes the unit vectors of images.

    Args:
      pixels: float[..., H, W, 3], from `clip_pixels`.

    Returns:
      float32[..., P].

    Raises:
      ValueError: H or W is not the image side of the config.
    """
    return unit_vectors(self.visual_projection(self.vision.pooled(pixels)))

  def text_features(self, tokens: jax.Array) -> jax.Array:
    """Computes the unit vectors of texts.

    Args:
      tokens: int[..., T], see `clip_text.ClipText.pooled`.

    Returns:
      float32[..., P].

    Raises:
      ValueError: the rows are too long.
    """
    return unit_vectors(self.text_projection(self.text.pooled(tokens)))

  def cosines(self, pixels: jax.Array, tokens: jax.Array) -> jax.Array:
    """Computes the cosine between each image and the text beside it.

    Args:
      pixels: see `image_features`.
      tokens: see `text_features`, with the same leading axes.

    Returns:
      float32[...], -1 to 1.
    """
    images, texts = self.image_features(pixels), self.text_features(tokens)
    return (images * texts).sum(-1)

  def logits(self, images: jax.Array, texts: jax.Array) -> jax.Array:
    """Computes the logits of every image with every text.

    A softmax over the last axis classifies images without training.

    Args:
      images: float32[N, P], from `image_features`.
      texts: float32[M, P], from `text_features`.

    Returns:
      float32[N, M].
    """
    return jnp.exp(self.logit_scale[...]) * (images @ texts.T)


def unit_vectors(features: jax.Array) -> jax.Array:
  """Scales vectors [..., P] to length 1, in float32."""
  features = features.astype(jnp.float32)
  return features / jnp.linalg.norm(features, axis=-1, keepdims=True)
