"""Which image codes are hidden: mask schedules, and one random mask.

A schedule maps progress t in [0, 1] to the ratio of codes that are masked, from
1 at t = 0 to 0 at t = 1 (MaskGIT, arXiv 2202.04200, section 3.1). It takes
numpy or jax arrays and answers in kind; numpy on the host makes the counts of
a sampler the same on every device.
"""

from collections.abc import Callable
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sequences import vocabulary

Schedule = Callable[[jax.Array], jax.Array]

# The official schedules but cosine never reach 0.
MIN_RATIO = 1e-6


def _numpy_of(t):
  """The array library of t."""
  return jnp if isinstance(t, jax.Array) else np


def cosine(t):
  """cos(pi t / 2)."""
  return _numpy_of(t).cos(t * math.pi * 0.5)


def power(t, exponent: float):
  """1 - t ** exponent, at least 1e-6."""
  return _numpy_of(t).clip(1.0 - t**exponent, MIN_RATIO, 1.0)


def linear(t):
  """1 - t, at least 1e-6."""
  return power(t, 1.0)


def sigmoid(t):
  """The logistic curve from -3 to 3, scaled to [1e-6, 1]."""
  tanh = _numpy_of(t).tanh
  ratio = (math.tanh(1.5) - tanh(3.0 * t - 1.5)) / (2 * math.tanh(1.5))
  return _numpy_of(t).clip(ratio, MIN_RATIO, 1.0)


def mean_ratio(schedule: Schedule) -> float:
  """Returns the ratio that is masked on average, t being uniform."""
  return float(np.mean(schedule((np.arange(1000) + 0.5) / 1000)))


SCHEDULES = {'cosine': cosine, 'linear': linear, 'sigmoid': sigmoid}


@functools.cache
def parse_schedule(name: str) -> Schedule:
  """Returns the schedule of a name: one of SCHEDULES, or 'pow2', 'pow0.5'.

  Raises:
    ValueError: the name is none of these.
  """
  if name in SCHEDULES:
    return SCHEDULES[name]
  try:
    exponent = float(name.removeprefix('pow'))
  except ValueError:
    exponent = 0.0
  if not name.startswith('pow') or not 0 < exponent < math.inf:
    raise ValueError(
      f'schedule {name!r}, wanted one of {sorted(SCHEDULES)} or pow<number>'
    )
  return functools.partial(power, exponent=exponent)


def num_masked_after(step: int, steps: int, n: int, schedule: Schedule) -> int:
  """Returns how many of n codes stay masked after a step of a sampler.

  Args:
    step: s, counted from 0.
    steps: S.
    n: I, image codes.
    schedule: ratio by t.

  Returns:
    floor(n * schedule((s + 1) / S)), at least 0. The sampler's own bounds (at
    least 1, at most those masked less 1) are not applied.
  """
  t = np.float32((step + 1) / steps)
  return max(0, int(np.floor(np.float32(n) * schedule(t))))


def schedule_counts(steps: int, n: int, schedule: Schedule) -> np.ndarray:
  """Returns int32[S], `num_masked_after` each step."""
  counts = [num_masked_after(s, steps, n, schedule) for s in range(steps)]
  return np.array(counts, np.int32)


def draw_mask(key: jax.Array, n: int, schedule: Schedule) -> jax.Array:
  """Draws one random mask for an image of n codes.

  The progress t is uniform; of the n codes, round(n * schedule(t)) are masked
  and never less than one, each set of that size alike.

  Args:
    key: a random key.
    n: I.
    schedule: ratio by t.

  Returns:
    bool[I], True where the code is to be hidden.
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
  """Hides the masked codes of t2i rows and scores only those.

  Labels outside the image codes (<|soi|>, <|eoi|>) stay as they are. A pair
  shares its mask: tokens [B, 2, T] with mask [B, 1, I].

  Args:
    vocab: the vocabulary.
    tokens: int32[..., T].
    labels: int32[..., T].
    mask: bool[..., I]; leading axes broadcast against those of tokens.
    image_start: the position of the first code, `max_text + 2` in t2i rows.

  Returns:
    (tokens, labels), int32[..., T].
  """
  size, codes = tokens.shape[-1], mask.shape[-1]
  index = jnp.arange(size)
  is_code = (index >= image_start) & (index < image_start + codes)
  around = [(0, 0)] * (mask.ndim - 1)
  around.append((image_start, size - image_start - codes))
  hidden = jnp.pad(mask, around)
  tokens = jnp.where(hidden, vocab.mask, tokens)
  labels = jnp.where(is_code & ~hidden, -100, labels)
  return tokens, labels
