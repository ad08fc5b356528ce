"""The image tokenizer workload: images to codes, or codes to images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class PixelsWorkload:
  """Encodes or decodes images in float32 at precision 'highest'.

  At lower precision, bits flip whose latent is near 0; see `magvit.Magvit`.

  Attributes:
    count: images per batch; the naive form takes single images.
    size: image side in pixels.
    decode: True for codes to images, False for images to codes.
  """

  count: settings.PositiveInt
  size: settings.PositiveInt
  decode: bool

  def __post_init__(self):
    settings.check(self)

  def _work(self, models, inputs, scale):
    def run(tokenizer, inputs):
      if self.decode:
        return tokenizer.decode(inputs)
      return tokenizer.codes(tokenizer.encode(inputs))

    return workload.Work(jax.jit(run), (models.tokenizer, inputs), scale)

  def _inputs(self, models, rng):
    if not self.decode:
      shape = self.count, self.size, self.size, 3
      return rng.uniform(-1, 1, shape).astype(np.float32)
    side = self.size // models.tokenizer.reduction
    bits = models.tokenizer.config.z_channels
    shape = self.count, side, side
    return rng.integers(0, 2**bits, shape).astype(np.int32)

  def ours(
    self, models: workload.Models, rng: np.random.Generator
  ) -> workload.Work:
    """Returns a call with all images."""
    return self._work(models, self._inputs(models, rng), 1.0)

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns a call with a single image, scaled to all images."""
    return [self._work(models, self._inputs(models, rng)[:1], self.count)]

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns the FLOPs for all images; the weights are read once."""
    inputs = self._inputs(models, np.random.default_rng(0))
    work = self._work(models, jnp.asarray(inputs[:1]), 1.0)
    flops = (
      self.count * flop_count.count_flops(work.call, *work.arguments).flops
    )
    return flop_count.Cost(flops, flop_count.tree_bytes(models.tokenizer))
