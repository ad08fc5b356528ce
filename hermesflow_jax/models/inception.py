"""Inception v3 of the Frechet Inception distance (arXiv 1706.08500).

The network of 2015 with 1,008 classes (arXiv 1512.00567), whose PyTorch weights
are `pt_inception-2015-12-05`. Published distances need these weights, these
pools (inception_blocks.py) and a named preparation of pixels
(inception_pixels.py).
"""

import dataclasses
import functools
import typing

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax.models import inception_blocks
from hermesflow_jax.runtime import settings

CLASSES = 1008
FEATURES = 2048
# Smaller images leave nothing after the last reduction.
MIN_SIDE = 75
STEM = (
  'conv2d_1a_3x3',
  'conv2d_2a_3x3',
  'conv2d_2b_3x3',
  'conv2d_3b_1x1',
  'conv2d_4a_3x3',
)
BLOCKS = (
  *('mixed_5b', 'mixed_5c', 'mixed_5d', 'mixed_6a', 'mixed_6b', 'mixed_6c'),
  *('mixed_6d', 'mixed_6e', 'mixed_7a', 'mixed_7b', 'mixed_7c'),
)
# Layers whose outputs are pooled.
BEFORE_POOL = ('conv2d_2b_3x3', 'conv2d_4a_3x3')


@dataclasses.dataclass(frozen=True)
class InceptionConfig:
  """Sizes and numerics.

  Attributes:
    divisor: divides all numbers of channels; 1 in the published network.
    dtype: dtype of convolutions; parameters, norms and features are float32.

  Raises:
    ValueError: a setting is invalid.
  """

  divisor: typing.Annotated[int, settings.one_of(1, 2, 4, 8, 16)] = 1
  dtype: typing.Any = settings.numerics(default=jnp.float32)

  def __post_init__(self):
    settings.check(self)

  @property
  def features(self) -> int:
    """P, width of the pooled features."""
    return FEATURES // self.divisor


class Inception(nnx.Module):
  """The network; layers are named as in PyTorch, in lower case."""

  def __init__(self, config: InceptionConfig, *, rngs: nnx.Rngs):
    self.config = config

    def conv(inputs, outputs, *shape):
      inputs = inputs if inputs == 3 else inputs // config.divisor
      return inception_blocks.ConvNorm(
        inputs, outputs // config.divisor, *shape, dtype=config.dtype, rngs=rngs
      )

    a = functools.partial(inception_blocks.BlockA, conv=conv)
    c = functools.partial(inception_blocks.BlockC, conv=conv)
    e = functools.partial(inception_blocks.BlockE, conv=conv)
    self.conv2d_1a_3x3 = conv(3, 32, (3, 3), 2, 'VALID')
    self.conv2d_2a_3x3 = conv(32, 32, (3, 3), 1, 'VALID')
    self.conv2d_2b_3x3 = conv(32, 64, (3, 3))
    self.conv2d_3b_1x1 = conv(64, 80, (1, 1))
    self.conv2d_4a_3x3 = conv(80, 192, (3, 3), 1, 'VALID')
    self.mixed_5b = a(192, 32)
    self.mixed_5c = a(256, 64)
    self.mixed_5d = a(288, 64)
    self.mixed_6a = inception_blocks.BlockB(288, conv)
    self.mixed_6b = c(768, 128)
    self.mixed_6c = c(768, 160)
    self.mixed_6d = c(768, 160)
    self.mixed_6e = c(768, 192)
    self.mixed_7a = inception_blocks.BlockD(768, conv)
    self.mixed_7b = e(1280, inception_blocks.average_pool)
    self.mixed_7c = e(2048, inception_blocks.last_pool)
    self.fc = nnx.Linear(
      config.features,
      CLASSES,
      dtype=jnp.float32,
      precision=jax.lax.Precision.HIGHEST,
      rngs=rngs,
    )

  def __call__(self, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes pooled features and logits.

    Args:
      pixels: float[B, H, W, 3] in [-1, 1], from inception_pixels.py. Published
        distances have H = W = 299.

    Returns:
      (features float32[B, P], logits float32[B, 1008]). The Frechet distance
      compares the features, `pool3` of the first implementation.

    Raises:
      ValueError: `pixels` has another shape, or images are too small.
    """
    last = self.block_outputs(pixels)[BLOCKS[-1]]
    features = last.astype(jnp.float32).mean((1, 2))
    return features, self.fc(features)

  def block_outputs(self, pixels: jax.Array) -> dict[str, jax.Array]:
    """Returns the outputs of all layers in STEM and BLOCKS, for comparisons.

    Args:
      pixels: see `__call__`.

    Raises:
      ValueError: see `__call__`.
    """
    shape = pixels.shape
    if len(shape) != 4 or shape[3] != 3 or min(shape[1:3]) < MIN_SIDE:
      raise ValueError(
        f'pixels must have shape [B, H, W, 3] with H and W at least {MIN_SIDE},'
        f' got {shape}'
      )
    x, outputs = pixels, {}
    for name in STEM + BLOCKS:
      x = outputs[name] = getattr(self, name)(x)
      if name in BEFORE_POOL:
        x = inception_blocks.reduce_pool(x)
    return outputs
