"""MaskGIT sampling of images (arXiv 2202.04200).

The sampler is written for a single image; callers map over captions and
candidates with `jax.vmap`. In a t2i row the caption does not attend to the
image after it, so its keys and values are computed once, before the first
step. Arguments that candidates share are not mapped over (`in_axes=None`):
their computation, storage and reads are shared as well.
"""

import dataclasses
import math
import typing

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules


@dataclasses.dataclass(frozen=True)
class MaskGITSampler:
  """Image sampler settings; hashable, so static under jit.

  Attributes:
    steps: S >= 1, forward passes.
    guidance: g >= 0 in (1 + g) cond - g uncond; 0 disables guidance.
    temperature: >= 0, scale of the Gumbel noise on the confidence, before
      annealing.
    schedule: name of the mask schedule, see `mask_schedules.parse_schedule`.
    compounding: multiply the temperature of the previous step by
      1 - (s + 1) / S, as the official code does; otherwise multiply
      `temperature` by this factor.
    code_temperature: > 0, divides the logits before a code is sampled.

  Raises:
    ValueError: numbers are out of bounds (the error lists all of them), or
      the schedule is unknown.
  """

  steps: typing.Annotated[settings.PositiveInt, settings.below(10_001)]
  guidance: typing.Annotated[float, settings.at_least(0), settings.FINITE]
  temperature: typing.Annotated[
    float, settings.at_least(0), settings.FINITE
  ] = 1.0
  schedule: str = 'cosine'
  compounding: bool = False
  code_temperature: typing.Annotated[
    float, settings.POSITIVE, settings.FINITE
  ] = 1.0

  def __post_init__(self):
    settings.check(self)
    mask_schedules.parse_schedule(self.schedule)

  def temperatures(self) -> np.ndarray:
    """Returns float32[S], the scale of the Gumbel noise at each step."""
    factors = 1.0 - np.arange(1, self.steps + 1) / self.steps
    if self.compounding:
      factors = np.cumprod(factors)
    return (self.temperature * factors).astype(np.float32)


def inverse_cdf(key, logits: jax.Array) -> jax.Array:
  """Samples an index per row from softmax(logits) by inverting the CDF.

  Equal in distribution to `jax.random.categorical`, but with a single uniform
  number per row: Gumbel noise for all V indices took most of the sampling time
  on CPUs. The cumulative sum first runs over blocks of about sqrt(V) indices,
  then within a block.

  Args:
    key: random key.
    logits: float32[..., V].

  Returns:
    int32[...], indices in [0, V).
  """
  size = logits.shape[-1]
  block = math.isqrt(size - 1) + 1
  weights = jnp.exp(logits - logits.max(-1, keepdims=True))
  pads = [(0, 0)] * (logits.ndim - 1) + [(0, -size % block)]
  weights = jnp.pad(weights, pads).reshape(*logits.shape[:-1], -1, block)
  mass = weights.sum(-1)
  upto = jnp.cumsum(mass, axis=-1)
  point = jax.random.uniform(key, logits.shape[:-1]) * upto[..., -1]
  which = _first_beyond(upto, point, mass)
  before = jnp.take_along_axis(upto - mass, which[..., None], axis=-1)[..., 0]
  inside = jnp.take_along_axis(weights, which[..., None, None], axis=-2)
  inside = inside[..., 0, :]
  within = _first_beyond(jnp.cumsum(inside, axis=-1), point - before, inside)
  return (which * block + within).astype(jnp.int32)


def _first_beyond(upto, point, weights):
  """Returns the first index whose cumulative weight exceeds `point`.

  The result is clipped to the indices with positive weight: rounding can put
  the point outside, and an index with probability 0 must not be sampled.
  """
  index = jnp.arange(upto.shape[-1])
  first = jnp.argmax(weights > 0, axis=-1)
  last = jnp.max(jnp.where(weights > 0, index, 0), axis=-1)
  return jnp.clip((upto <= point[..., None]).sum(-1), first, last)


def sample_image(
  model,
  key,
  text,
  codes,
  known,
  config: MaskGITSampler,
  num_masked,
  choose=inverse_cdf,
  skipped: int = 0,
):
  """Samples image codes by iterative masked prediction.

  If `text`, `codes` and `known` are not mapped over, all images share the
  cache of the text and the first forward pass.

  Args:
    model: a ShowO.
    key: random key for this image.
    text: Rows [P] from `text_to_image.t2i_prefix`: (caption,) without
      guidance, (caption, empty caption) with guidance.
    codes: int32[I], codes to keep where `known`.
    known: bool[I], positions to keep.
    config: settings.
    num_masked: int32[S], codes that stay masked after each step
      (`mask_schedules.schedule_counts`). The sampler raises it to 1 and
      limits it to the number of masked codes minus 1.
    choose: samples codes, (key, logits float32[I, Z]) -> int[I].
    skipped: pads that were cut off on the left of `text`; positions
      count them.

  Returns:
    (codes int32[I], trace int32[S, I]: the codes before each step, -1 where
    masked).
  """
  start = jnp.where(known, codes, -1).astype(jnp.int32)
  span = 0, config.steps
  _, drawn, trace = sample_steps(
    model, key, text, start, config, num_masked, span, choose, skipped=skipped
  )
  return drawn, trace


def likeliest(logits: jax.Array, drawn: jax.Array) -> jax.Array:
  """Fills a draft with the likeliest codes, a `fill` of `sample_steps`.

  Args:
    logits: float32[I, Z].
    drawn: int32[I], sampled codes.

  Returns:
    int32[I].
  """
  del drawn
  return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def sampled(logits: jax.Array, drawn: jax.Array) -> jax.Array:
  """Fills a draft with the sampled codes; see `likeliest`."""
  del logits
  return drawn


def sample_steps(
  model,
  key,
  text,
  state,
  config: MaskGITSampler,
  num_masked,
  span: tuple[int, int],
  choose=inverse_cdf,
  fill=sampled,
  skipped: int = 0,
):
  """Computes some steps of `sample_image`.

  Steps with the same key continue each other: any division of the steps gives
  the codes of all steps at once.

  Args:
    model: a ShowO.
    key: random key for this image, the same for all of its steps.
    text: see `sample_image`.
    state: int32[I], codes before the first step, -1 where masked.
    config: settings.
    num_masked: int32[S], see `sample_image`.
    span: (first step, step behind the last), 0 <= first < last <= S; static.
    choose: see `sample_image`.
    fill: codes of a draft where codes are still masked, (logits float32[I, Z]
      of the last step, sampled codes int32[I]) -> int32[I].
    skipped: see `sample_image`.

  Returns:
    (codes int32[I] after the last step, -1 where masked; a draft int32[I],
    the same codes with `fill` at masked positions; trace int32[steps, I]).
  """
  vocab = model.config.vocab
  branches, prefix_size = len(text), text[0].tokens.shape[-1]
  size = state.shape[0]
  # Without vmap over branches, so that images share the cache of a branch.
  prefixes = [
    prefix_cache.prefill(model, rows, start=skipped)[1] for rows in text
  ]
  prefix = jax.tree.map(lambda *a: jnp.stack(a), *prefixes)
  positions = skipped + prefix_size + jnp.arange(size + 2)
  # Each token of the image attends to the text without pads and to the image.
  begins = jnp.stack([jnp.argmax(rows.valid) for rows in text])
  begins = begins.astype(jnp.int32)
  head = model.code_head()

  def predict(state):
    row = jnp.where(state < 0, vocab.mask, state + vocab.image_offset)
    row = jnp.concatenate(
      [jnp.array([vocab.soi]), row, jnp.array([vocab.eoi])]
    ).astype(jnp.int32)

    def branch(prefix, begin):
      mask = [attention_mask.Interval(start=begin[None]), None]
      hidden, _ = model.decoder(
        model.embed(row), mask, positions, past=[prefix]
      )
      return hidden[1:-1]

    hidden = jax.vmap(branch)(prefix, begins)
    if branches == 1:
      return head(hidden[0])
    # The head is affine and the weights sum to 1, so guidance of hidden states
    # equals guidance of logits, with half the products. Guidance amplifies
    # rounding errors, so it precedes the single rounding to bfloat16 that the
    # head needs. At guidance 5 (width 256, 4 layers, random weights, 8,192
    # codes) rounding of states and logits changes the likeliest code at 2.3%
    # of the masked positions, rounding of states at 1.8%, this order at 0.3%.
    # A second product with the rounding errors would change none at twice the
    # cost. The bfloat16 decoder itself changes 5.9%.
    g = config.guidance
    return head((1 + g) * hidden[0] - g * hidden[1])

  def step(state, inputs):
    key, keep_masked, temperature = inputs
    draw_key, noise_key = jax.random.split(key)
    logits = predict(state) / config.code_temperature
    drawn = choose(draw_key, logits).astype(jnp.int32)
    masked = state < 0
    drawn = jnp.where(masked, drawn, state)
    logps = jax.nn.log_softmax(logits, axis=-1)
    confidence = jnp.take_along_axis(logps, drawn[:, None], axis=-1)[:, 0]
    noise = jax.random.gumbel(noise_key, (size,))
    confidence = jnp.where(masked, confidence + temperature * noise, jnp.inf)
    count = jnp.minimum(keep_masked, masked.sum() - 1)
    count = jnp.maximum(count, 1)
    # By rank, not by a threshold: the compiler may compute a confidence twice
    # with different rounding, and then the threshold's own code is below it.
    rank = jnp.argsort(jnp.argsort(confidence))
    after = jnp.where(masked & (rank < count), -1, drawn)
    draft = jnp.where(after < 0, fill(logits, drawn), drawn)
    return after, (state, draft)

  begin, end = span
  inputs = (
    jax.random.split(key, config.steps)[begin:end],
    jnp.asarray(num_masked, jnp.int32)[begin:end],
    jnp.asarray(config.temperatures()[begin:end]),
  )
  # The first step stays outside of the scan: all images can share it.
  state, first = step(state, jax.tree.map(lambda a: a[0], inputs))
  state, later = jax.lax.scan(
    step, state, jax.tree.map(lambda a: a[1:], inputs)
  )
  trace, drafts = jax.tree.map(
    lambda a, b: jnp.concatenate([a[None], b]), first, later
  )
  return state, drafts[-1], trace
