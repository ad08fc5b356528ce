"""How fast a run learns: records, tokens and arithmetic a second."""

from collections.abc import Sequence
import dataclasses

import jax

from hermesflow_jax.models import flop_count
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import token_rows


@dataclasses.dataclass(frozen=True)
class UsefulWork:
  """What a step does that is of use: no pads, nothing done again.

  Attributes:
    pairs: records, each with a pair of captions and one of images.
    tokens: through the policy.
    flops: three times the policy's forward pass (twice where its kernels are
      frozen) and the reference's, of these tokens and their labels.
  """

  pairs: float
  tokens: float
  flops: float

  def __call__(self, steps: int, seconds: float) -> dict[str, float]:
    """Returns the metrics of an interval."""
    rate = steps / seconds
    found = {
      'speed/pairs_per_second': self.pairs * rate,
      'speed/tokens_per_second': self.tokens * rate,
      'speed/flops_per_second': self.flops * rate,
    }
    peak = accelerators.peak_flops(jax.devices()[0].device_kind)
    if peak:
      found['speed/mfu'] = self.flops * rate / (peak * jax.device_count())
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'peak_bytes_in_use' in stats:
      found['device/peak_memory_gib'] = stats['peak_bytes_in_use'] / 2**30
    return found


@dataclasses.dataclass(frozen=True)
class ForwardWork:
  """What a forward pass over a record does that is of use: tokens, FLOPs."""

  tokens: float = 0.0
  flops: float = 0.0

  def __add__(self, other):
    return ForwardWork(self.tokens + other.tokens, self.flops + other.flops)

  def __mul__(self, times):
    return ForwardWork(self.tokens * times, self.flops * times)


def image_pair_work(
  config, record: dict, masks: int, hidden: float
) -> ForwardWork:
  """Returns what scoring the pair of images takes.

  Args:
    config: of the ShowO.
    record: arrays of `record_rows.make_transform`.
    masks: K, a pair.
    hidden: codes that a mask hides, on average; they and two ends are labels.
  """
  if not record['gen_valid']:
    return ForwardWork()
  labels = _head(config, 2 * masks * (hidden + 2))
  if 'packed' not in record:
    return _rows(config, record['t2i']) * masks + labels
  packed = record['packed']
  caption, block = packed.caption.valid.sum(), packed.codes.shape[-1] + 2
  return (
    _tokens(config, caption, (caption + 1) / 2)
    + _tokens(config, block, caption + block) * (2 * masks)
    + labels
  )


def caption_pair_work(config, record: dict) -> ForwardWork:
  """Returns what scoring the pair of captions takes; see `image_pair_work`."""
  if not record['und_valid']:
    return ForwardWork()
  if 'packed' not in record:
    rows = record['mmu']
    labels = (rows.labels != token_rows.UNSCORED).sum()
    return _rows(config, rows) + _head(config, labels)
  packed = record['packed']
  image, words = packed.image.valid.sum(), packed.replied.sum(-1)
  # A reply's last token predicts nothing.
  replies = (_tokens(config, count - 1, image + count / 2) for count in words)
  return sum(
    replies, _tokens(config, image, image) + _head(config, words.sum())
  )


def _tokens(config, count, seen):
  """Of tokens that see so many on average."""
  return ForwardWork(
    count, flop_count.decoder_flops(config.decoder, count, seen)
  )


def _rows(config, rows):
  """Of rows, without their pads."""
  count = rows.valid.sum()
  seen = attention_mask.mask_matrix(rows.ar, rows.valid) & rows.valid[..., None]
  return _tokens(config, count, float(seen.sum()) / max(count, 1))


def _head(config, labels):
  return ForwardWork(
    0, flop_count.head_flops(config.decoder, labels, config.vocab.size)
  )


def useful_work(
  config,
  records: Sequence[dict],
  *,
  batch: int,
  masks: int,
  hidden: float,
  images_again: bool,
  captions_again: bool,
  passes: int = 3,
) -> UsefulWork:
  """Returns what a step of Pair-DPO does, on average.

  Args:
    config: of the ShowO.
    records: arrays of `record_rows.make_transform`; some that stand for all.
    batch: records a step.
    masks, hidden: see `image_pair_work`.
    images_again, captions_again: whether the reference scores these at each
      step.
    passes: what the policy takes, in forward passes.
  """
  count = len(records)
  images = sum(
    (image_pair_work(config, r, masks, hidden) for r in records), ForwardWork()
  )
  captions = sum((caption_pair_work(config, r) for r in records), ForwardWork())
  policy = images + captions
  flops = (
    passes * policy.flops
    + images_again * images.flops
    + captions_again * captions.flops
  )
  return UsefulWork(
    batch, float(batch * policy.tokens / count), float(batch * flops / count)
  )
