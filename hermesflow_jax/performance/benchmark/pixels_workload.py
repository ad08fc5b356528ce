"""Images to codes, or codes to images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class PixelsWorkload:
  """The image tokenizer at work, in float32 at precision 'highest'.

  Bits near 0 flip in less; see `magvit.Magvit`.

  Attributes:
    count: images at once; the naive way takes one after the other.
    size: pixels a side.
    decode: codes to images; else images to codes.
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
    """Returns all images in one call."""
    return self._work(models, self._inputs(models, rng), 1.0)

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns one image, of all of them."""
    return [self._work(models, self._inputs(models, rng)[:1], self.count)]

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns what the tokenizer's convolutions and products need."""
    inputs = self._inputs(models, np.random.default_rng(0))
    one = self._work(models, jnp.asarray(inputs[:1]), 1.0)
    flops = self.count * flop_count.count_flops(one.call, *one.arguments).flops
    return flop_count.Cost(flops, flop_count.tree_bytes(models.tokenizer))
