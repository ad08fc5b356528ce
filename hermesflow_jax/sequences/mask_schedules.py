"""Mask schedules of MaskGIT, for sampling and for training.

A schedule maps progress t in [0, 1] to the ratio of masked codes, from 1 at
t = 0 to 0 at t = 1 (MaskGIT, arXiv 2202.04200, section 3.1). It accepts numpy
or jax arrays and returns the same kind. Samplers evaluate it with numpy on the
host, so the counts are the same on every device.
"""

from collections.abc import Callable
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

Schedule = Callable[[jax.Array], jax.Array]

# As in the official code, only the cosine schedule reaches 0.
MIN_RATIO = 1e-6


def _array_module(t):
  """Returns jnp for jax arrays, otherwise np."""
  return jnp if isinstance(t, jax.Array) else np


def cosine(t):
  """Returns cos(pi t / 2)."""
  return _array_module(t).cos(t * math.pi * 0.5)


def power(t, exponent: float):
  """Returns 1 - t ** exponent, at least 1e-6."""
  return _array_module(t).clip(1.0 - t**exponent, MIN_RATIO, 1.0)


def linear(t):
  """Returns 1 - t, at least 1e-6."""
  return power(t, 1.0)


def sigmoid(t):
  """Returns a falling logistic curve, scaled to [1e-6, 1]."""
  tanh = _array_module(t).tanh
  ratio = (math.tanh(1.5) - tanh(3.0 * t - 1.5)) / (2 * math.tanh(1.5))
  return _array_module(t).clip(ratio, MIN_RATIO, 1.0)


def mean_ratio(schedule: Schedule) -> float:
  """Returns the mean ratio of a schedule over uniform t in [0, 1]."""
  return float(np.mean(schedule((np.arange(1000) + 0.5) / 1000)))


SCHEDULES = {'cosine': cosine, 'linear': linear, 'sigmoid': sigmoid}


@functools.cache
def parse_schedule(name: str) -> Schedule:
  """Returns the schedule with a given name.

  Args:
    name: a key in SCHEDULES, or 'pow' and an exponent above 0, e.g. 'pow0.5'.

  Raises:
    ValueError: the name is unknown.

  >>> round(float(parse_schedule('cosine')(0.5)), 3)
  0.707
  >>> float(parse_schedule('pow2')(0.5))
  0.75
  """
  if name in SCHEDULES:
    return SCHEDULES[name]
  try:
    exponent = float(name.removeprefix('pow'))
  except ValueError:
    exponent = 0.0
  if not name.startswith('pow') or not 0 < exponent < math.inf:
    raise ValueError(
      f'schedule must be one of {", ".join(sorted(SCHEDULES))} or '
      f'pow<number>, got {name!r}'
    )
  return functools.partial(power, exponent=exponent)


@functools.cache
def restrict(schedule: Schedule, progress: tuple[float, float]) -> Schedule:
  """Returns a schedule over a part of the progress.

  >>> float(restrict(linear, (0.0, 0.5))(1.0))
  0.5

  Args:
    schedule: mask schedule.
    progress: first and last t; (0, 1) returns `schedule`.
  """
  first, last = progress
  if (first, last) == (0.0, 1.0):
    return schedule
  return lambda t: schedule(first + (last - first) * t)


def num_masked_after(step: int, steps: int, n: int, schedule: Schedule) -> int:
  """Returns the number of codes that stay masked after a sampling step.

  Args:
    step: s, from 0.
    steps: S, step count.
    n: I, codes per image.
    schedule: mask schedule.

  Returns:
    floor(n * schedule((s + 1) / S)), at least 0. The sampler then applies its
    own bounds: at least 1, at most the number of masked codes minus 1.

  >>> num_masked_after(0, steps=2, n=16, schedule=linear)
  8
  """
  t = np.float32((step + 1) / steps)
  return max(0, int(np.floor(np.float32(n) * schedule(t))))


def schedule_counts(steps: int, n: int, schedule: Schedule) -> np.ndarray:
  """Returns int32[S], `num_masked_after` for each of S steps.

  >>> schedule_counts(4, 16, cosine).tolist()
  [14, 11, 6, 0]
  """
  counts = [num_masked_after(s, steps, n, schedule) for s in range(steps)]
  return np.array(counts, np.int32)


def draw_mask(key: jax.Array, n: int, schedule: Schedule) -> jax.Array:
  """Samples a training mask for an image.

  The progress t is uniform. The mask has round(n * schedule(t)) codes, at
  least 1, and all sets of this size are equally likely.

  Args:
    key: random key.
    n: I, codes per image.
    schedule: mask schedule.

  Returns:
    bool[I], True at masked codes.
  """
  time_key, order_key = jax.random.split(key)
  ratio = schedule(jax.random.uniform(time_key))
  count = jnp.clip(jnp.round(n * ratio), 1, n).astype(jnp.int32)
  return jax.random.permutation(order_key, n) < count


def apply_mask(
  vocab: vocabulary.Vocab,
  tokens: jax.Array,
  labels: jax.Array,
  mask: jax.Array,
  image_start: int,
) -> tuple[jax.Array, jax.Array]:
  """Masks codes of t2i rows; of all codes, only masked codes are scored.

  Labels of other tokens (<|soi|>, <|eoi|>) do not change. Both sides of a pair
  share a mask: tokens [B, 2, T] with mask [B, 1, I].

  Args:
    vocab: token ids.
    tokens: int32[..., T], rows from `text_to_image.t2i_rows`.
    labels: int32[..., T], their labels.
    mask: bool[..., I], True at codes to mask; leading axes broadcast against
      those of `tokens`.
    image_start: first code position, `max_text + 2` in t2i rows.

  Returns:
    (tokens, labels), both int32[..., T].
  """
  size, codes = tokens.shape[-1], mask.shape[-1]
  index = jnp.arange(size)
  is_code = (index >= image_start) & (index < image_start + codes)
  pads = [(0, 0)] * (mask.ndim - 1)
  pads.append((image_start, size - image_start - codes))
  masked = jnp.pad(mask, pads)
  tokens = jnp.where(masked, vocab.mask, tokens)
  labels = jnp.where(is_code & ~masked, token_rows.UNSCORED, labels)
  return tokens, labels
