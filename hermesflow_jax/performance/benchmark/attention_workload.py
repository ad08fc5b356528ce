"""The attention workload: image queries alone, forward and backward."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import attention
from hermesflow_jax.models import attention_kernels
from hermesflow_jax.models import flop_count
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import attention_mask


@dataclasses.dataclass(frozen=True)
class AttentionWorkload:
  """Attention of images to themselves and to the text before them.

  The backend is that of the decoder, 'xla' or 'cudnn'.

  Attributes:
    rows: images per batch.
    queries: tokens per image.
    text: text tokens before an image; each row has another number of pads.
  """

  rows: settings.PositiveInt
  queries: settings.PositiveInt
  text: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)

  def ours(
    self, models: workload.Models, rng: np.random.Generator
  ) -> workload.Work:
    """Returns a call that computes the output and its gradients."""
    decoder = models.showo.config.decoder

    def draw(length):
      shape = self.rows, length, decoder.heads, decoder.head_size
      key = jax.random.key(rng.integers(2**31))
      return jax.random.normal(key, shape, decoder.dtype)

    q, target = draw(self.queries), draw(self.queries)
    parts = [
      (draw(length), draw(length)) for length in (self.text, self.queries)
    ]
    start = rng.integers(0, self.text, (self.rows, 1)).astype(np.int32)

    def attend(q, parts, start):
      masks = [attention_mask.Interval(start=start), None]
      if decoder.attention == 'cudnn':
        return attention_kernels.cudnn(q, parts, [start[..., 0], None])
      return attention.attend(q, parts, masks)

    def output_and_gradients(q, parts, start, target):
      out, pull = jax.vjp(lambda q, parts: attend(q, parts, start), q, parts)
      return {'output': out, 'gradients': pull(target)}

    return workload.Work(
      jax.jit(output_and_gradients), (q, parts, start, target)
    )

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns no work: the backends are compared with each other."""
    del models, rng
    return []

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns the least work: two products forward, five backward."""
    decoder = models.showo.config.decoder
    keys = self.queries + self.text
    product = 2.0 * self.rows * decoder.width * self.queries * keys
    size = self.rows * decoder.width * jnp.dtype(decoder.dtype).itemsize
    # Queries, outputs and their gradients; keys, values and theirs.
    return flop_count.Cost(7 * product, 4 * size * (self.queries + keys))
