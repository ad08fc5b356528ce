"""Useful work in a training step: records, tokens and FLOPs."""

from collections.abc import Sequence
import dataclasses

import jax

from hermesflow_jax.models import flop_count
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import token_rows


@dataclasses.dataclass(frozen=True)
class UsefulWork:
  """Useful work in a step, without pads and without recomputation.

  Attributes:
    pairs: records, each with a caption pair and an image pair, or with groups.
    tokens: tokens that the policy reads.
    flops: FLOPs for these tokens and their labels: three forward passes for
      the policy (two if its kernels are frozen) plus those for the reference.
    unit: records' name in metrics.
  """

  pairs: float
  tokens: float
  flops: float
  unit: str = 'pairs'

  def __call__(self, steps: int, seconds: float) -> dict[str, float]:
    """Returns speed metrics for an interval.

    Args:
      steps: steps in the interval.
      seconds: their duration.

    Returns:
      Rates per second, `speed/mfu` in [0, 1] if the chip's peak is known, and
      `device/peak_memory_gib` if the device reports it.
    """
    rate = steps / seconds
    metrics = {
      f'speed/{self.unit}_per_second': self.pairs * rate,
      'speed/tokens_per_second': self.tokens * rate,
      'speed/flops_per_second': self.flops * rate,
    }
    peak = accelerators.peak_flops(jax.devices()[0].device_kind)
    if peak:
      metrics['speed/mfu'] = self.flops * rate / (peak * jax.device_count())
    stats = jax.local_devices()[0].memory_stats() or {}
    if 'peak_bytes_in_use' in stats:
      metrics['device/peak_memory_gib'] = stats['peak_bytes_in_use'] / 2**30
    return metrics


@dataclasses.dataclass(frozen=True)
class ForwardWork:
  """Useful work in a forward pass: tokens and FLOPs."""

  tokens: float = 0.0
  flops: float = 0.0

  def __add__(self, other):
    return ForwardWork(self.tokens + other.tokens, self.flops + other.flops)

  def __mul__(self, times):
    return ForwardWork(self.tokens * times, self.flops * times)


def image_pair_work(
  config, record: dict, masks: int, masked: float
) -> ForwardWork:
  """Returns the work for a record's images under a single model.

  Args:
    config: ShowOConfig.
    record: row from `record_rows.make_transform`, with 2 images; or a group's
      row, with K images.
    masks: J, masks per image.
    masked: mean number of masked codes; these and both ends have labels.
  """
  if not record['gen_valid']:
    return ForwardWork()
  if 'packed' not in record:
    labels = _head(config, 2 * masks * (masked + 2))
    return _rows(config, record['t2i']) * masks + labels
  packed = record['packed']
  copies = len(packed.codes) * masks
  caption, block = packed.caption.valid.sum(), packed.codes.shape[-1] + 2
  return (
    _tokens(config, caption, (caption + 1) / 2)
    + _tokens(config, block, caption + block) * copies
    + _head(config, copies * (masked + 2))
  )


def caption_pair_work(config, record: dict) -> ForwardWork:
  """Returns the work for a record's captions under a single model.

  Args:
    config: ShowOConfig.
    record: row from `record_rows.make_transform`, or a group's row.
  """
  if not record['und_valid']:
    return ForwardWork()
  if 'packed' not in record:
    rows = record['mmu']
    labels = (rows.labels != token_rows.UNSCORED).sum()
    return _rows(config, rows) + _head(config, labels)
  packed = record['packed']
  image, words = packed.image.valid.sum(), packed.replied.sum(-1)
  # The last token of a reply predicts nothing.
  replies = (_tokens(config, count - 1, image + count / 2) for count in words)
  return sum(
    replies, _tokens(config, image, image) + _head(config, words.sum())
  )


def answer_work(config, rows) -> ForwardWork:
  """Returns the work for the answers to a question under a single model.

  Args:
    config: ShowOConfig.
    rows: `answer_rows.AnswerRows` of the question.
  """
  image, words = len(rows.image), (rows.answers != token_rows.UNSCORED).sum(-1)
  # The last token of an answer predicts nothing.
  texts = (
    _tokens(config, int(rows.length) + count - 1, image + rows.length / 2)
    for count in words[words > 0]
  )
  return sum(texts, _tokens(config, image, image) + _head(config, words.sum()))


def _tokens(config, count, seen):
  """Returns the work for `count` tokens that see `seen` keys on average."""
  return ForwardWork(
    count, flop_count.decoder_flops(config.decoder, count, seen)
  )


def _rows(config, rows):
  """Returns the work for rows without their pads."""
  count = rows.valid.sum()
  seen = attention_mask.mask_matrix(rows.ar, rows.valid) & rows.valid[..., None]
  return _tokens(config, count, float(seen.sum()) / max(count, 1))


def _head(config, labels):
  """Returns the work for the output head at `labels` positions."""
  return ForwardWork(
    0, flop_count.head_flops(config.decoder, labels, config.vocab.size)
  )


def useful_work(
  config,
  records: Sequence[dict],
  *,
  batch: int,
  masks: int,
  masked: float,
  images_again: int,
  captions_again: bool,
  passes: int = 3,
  unit: str = 'pairs',
) -> UsefulWork:
  """Returns the mean useful work in a training step.

  Args:
    config: ShowOConfig.
    records: rows from `record_rows.make_transform`, a sample of the data; or
      group rows from `group_rows.without_padding`.
    batch: records per step.
    masks: J, masks per pair.
    masked: mean number of masked codes.
    images_again: frozen models that score images in each step.
    captions_again: whether the reference scores captions in each step.
    passes: the policy's work in a step, in forward passes.
    unit: see `UsefulWork`.
  """
  count = len(records)
  images = sum(
    (image_pair_work(config, r, masks, masked) for r in records), ForwardWork()
  )
  captions = sum((caption_pair_work(config, r) for r in records), ForwardWork())
  policy = images + captions
  flops = (
    passes * policy.flops
    + images_again * images.flops
    + captions_again * captions.flops
  )
  return UsefulWork(
    batch,
    float(batch * policy.tokens / count),
    float(batch * flops / count),
    unit,
  )
