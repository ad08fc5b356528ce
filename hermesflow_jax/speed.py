"""How fast a run learns: records, tokens and arithmetic a second."""

from collections.abc import Callable
import dataclasses
import functools

import jax
import numpy as np

from hermesflow_jax import cost
from hermesflow_jax import packing

# bfloat16 products a second of one device, without sparsity, by the beginning
# of its kind; of the makers' data sheets.
PEAKS = {
    'TPU v5 lite': 197e12,
    'TPU v5e': 197e12,
    'TPU v5p': 459e12,
    'TPU v5': 459e12,
    'TPU v6 lite': 918e12,
    'TPU v6e': 918e12,
    'NVIDIA A100': 312e12,
    'NVIDIA H100': 989e12,
    'NVIDIA H200': 989e12,
}


def peak_of(kind: str) -> float | None:
  """Returns the peak of a kind of device, or None if it is not known."""
  for name, peak in PEAKS.items():
    if kind.startswith(name):
      return peak
  return None


@dataclasses.dataclass(frozen=True)
class Speed:
  """What a step does.

  Attributes:
    pairs: records, each with a pair of captions and one of images.
    tokens: through the policy, pads included.
    flops: that it needs: three times the policy's forward pass (twice where
      its kernels are frozen), once the reference's. What is computed again
      to save memory is not counted; what attention kernels pad is.
  """

  pairs: int
  tokens: int
  flops: float

  def __call__(self, steps: int, seconds: float) -> dict[str, float]:
    """Returns the metrics of an interval."""
    rate = steps / seconds
    found = {
        'speed/pairs_per_second': self.pairs * rate,
        'speed/tokens_per_second': self.tokens * rate,
        'speed/flops_per_second': self.flops * rate,
    }
    peak = peak_of(jax.devices()[0].device_kind)
    if peak:
      found['speed/mfu'] = self.flops * rate / (peak * jax.device_count())
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'peak_bytes_in_use' in stats:
      found['device/peak_memory_gib'] = stats['peak_bytes_in_use'] / 2**30
    return found


def of_pairs(
    loss: Callable, prepare: Callable, model, reference, batch,
    passes: int = 3,
) -> Speed:
  """Returns what a step of Pair-DPO does.

  Args:
    loss, prepare: of the step.
    model, reference: the two models, or their shapes.
    batch: of `alignment.transform`, stacked.
    passes: what the policy takes, in forward passes.
  """
  batch = jax.eval_shape(prepare, batch, jax.random.key(0))
  both = cost.of(lambda m, r, b: loss(m, r, b)[0], model, reference, batch)
  records, = batch['share'].shape
  if 'packed' not in batch:
    # Rows of their own, through two models.
    tokens = sum(
        int(np.prod(batch[kind].tokens.shape)) for kind in ('t2i', 'mmu')
    )
    return Speed(records, tokens, (1 + passes) / 2 * both.flops)
  row, *_ = jax.eval_shape(
      functools.partial(packing.pack, model.config.vocab), batch['packed'],
      batch['hidden'],
  )
  policy = cost.of(
      lambda m, b: packing.pair_logps(m, b['packed'], b['hidden'], 512)[0],
      model, batch,
  )
  return Speed(
      records, int(np.prod(row.shape)),
      both.flops + (passes - 1) * policy.flops,
  )
