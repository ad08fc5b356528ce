"""Pretrains the unified model on t2i, mmu and lm rows.

Show-o (arXiv 2408.12528), section 3: masked prediction for image codes given
text, next-token prediction for text given an image, and for text alone.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import math

import jax
import numpy as np

from hermesflow_jax.data import pipeline
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import log_likelihood


@dataclasses.dataclass(frozen=True)
class TaskMixture:
  """Row contents and loss weights.

  Attributes:
    drop_condition: probability that a t2i row has the empty text.
    caption_share: probability that an mmu row has the caption, not a
      question and its answer.
    t2i: loss weight for images given text.
    mmu: loss weight for text given an image.
    lm: loss weight for text alone.
  """

  drop_condition: settings.Fraction = 0.1
  caption_share: settings.Fraction = 0.3
  t2i: settings.NonNegativeFloat = 1.0
  mmu: settings.NonNegativeFloat = 1.0
  lm: settings.NonNegativeFloat = 0.1

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True)
class Batches:
  """Global batch sizes.

  Attributes:
    t2i: rows with an image given text.
    mmu: rows with text given an image.
    lm: rows with text alone.
  """

  t2i: settings.PositiveInt
  mmu: settings.PositiveInt
  lm: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)

  @property
  def divisor(self) -> int:
    """Greatest number that divides every batch size."""
    return math.gcd(self.t2i, self.mmu, self.lm)


def transforms(
  vocab: vocabulary.Vocab,
  text: text_tokenizer.TextTokenizer,
  lengths: token_rows.Lengths,
  mixture: TaskMixture,
) -> dict[str, Callable[[dict, np.random.Generator], token_rows.Rows]]:
  """Returns the functions from a record to its row, by flow.

  A record has `codes` int[I], `caption` str and `qa`, (question,
  answer) tuples. A record with empty `qa` always shows its caption.

  Args:
    vocab: vocabulary.
    text: text tokenizer.
    lengths: row lengths.
    mixture: probabilities.
  """

  def first(rows):
    return jax.tree.map(lambda a: a[0], rows)

  def t2i(record, rng):
    tokens = text.encode([record['caption']])
    if rng.random() < mixture.drop_condition:
      tokens = [[]]
    codes = record['codes'][None]
    return first(text_to_image.t2i_rows(vocab, tokens, codes, lengths.max_text))

  def mmu(record, rng):
    if record['qa'] and rng.random() >= mixture.caption_share:
      question, answer = record['qa'][rng.integers(len(record['qa']))]
    else:
      question, answer = text_tokenizer.CAPTION_PROMPT, record['caption']
    (prompt,) = text.encode([text_tokenizer.user_turn(question)])
    (answer,) = text.encode_replies([answer])
    codes = record['codes'][None]
    return first(
      image_to_text.mmu_rows(vocab, codes, [prompt], [answer], lengths.mmu)
    )

  def lm(record, rng):
    del rng
    tokens = text.encode([record['caption']])
    return first(token_rows.lm_rows(vocab, tokens, lengths.lm))

  return {'t2i': t2i, 'mmu': mmu, 'lm': lm}


def batches(
  records: Sequence[dict],
  transforms: dict[str, Callable],
  sizes: Batches,
  *,
  seed: int,
  start: int,
  mesh,
) -> Iterator[dict]:
  """Yields device batches; each flow has an independent order.

  Args:
    records: see `transforms`.
    transforms: functions from a record to its row, by flow.
    sizes: global batch sizes.
    seed: seed for the orders.
    start: first step.
    mesh: device mesh.
  """
  streams = {
    flow: pipeline.batches(
      records,
      transforms[flow],
      seed=3 * seed + n,
      batch=size,
      start=start,
      mesh=mesh,
    )
    for n, (flow, size) in enumerate(dataclasses.asdict(sizes).items())
  }
  while True:
    yield {flow: next(stream) for flow, stream in streams.items()}


def loss(
  model,
  constants,
  batch,
  key,
  *,
  mixture: TaskMixture,
  schedule: mask_schedules.Schedule,
  image_tokens: int,
  reply: int,
):
  """Returns the total loss, and the mean loss over tokens by flow.

  Args:
    model: a ShowO.
    constants: unused.
    batch: 't2i', 'mmu' and 'lm' Rows [B, T]; B and T depend on the flow.
    key: random key for the masks.
    mixture: weights.
    schedule: mask schedule.
    image_tokens: I, codes per image.
    reply: maximum length of an answer in tokens, its end included.

  Returns:
    (float32[], {'loss/t2i', 'loss/mmu', 'loss/lm': float32[]}), nats per token.
  """
  del constants
  keys = jax.random.split(key, batch['t2i'].tokens.shape[0])
  masked = jax.vmap(
    lambda k: mask_schedules.draw_mask(k, image_tokens, schedule)
  )(keys)
  t2i = log_likelihood.mean_nll(
    *log_likelihood.image_logps(model, batch['t2i'], masked)
  )
  mmu = log_likelihood.mean_nll(
    *log_likelihood.text_logps(model, batch['mmu'], reply)
  )
  length = batch['lm'].tokens.shape[-1]
  lm = log_likelihood.mean_nll(
    *log_likelihood.text_logps(model, batch['lm'], length)
  )
  total = mixture.t2i * t2i + mixture.mmu * mmu + mixture.lm * lm
  return total, {'loss/t2i': t2i, 'loss/mmu': mmu, 'loss/lm': lm}
