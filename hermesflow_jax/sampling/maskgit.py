"""MaskGIT sampling of images (arXiv 2202.04200).

The sampler is written for a single image; callers map over captions and
candidates with `jax.vmap`. In a t2i row the caption does not attend to the
image after it, so its keys and values are computed once, before the first
step. Arguments that candidates share are not mapped over (`in_axes=None`):
their computation, storage and reads are shared as well.
"""

import dataclasses
import functools
import itertools
import operator
import typing

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import guided_part
from hermesflow_jax.sampling import masked_steps
from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sampling import revealed_codes
from hermesflow_jax.sampling import softmax_sampling
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
    guided: part of the steps with guidance: step s of S has it if
      first <= s / S < last. The other steps compute no empty caption.
    error_budget: >= 0, in codes. A step also keeps codes that the schedule
      would leave masked: the likeliest, as long as the sum of 1 - probability
      over the codes of the step is at most this. An image whose codes are all
      kept is finished. 0 keeps as many codes as the schedule says.

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
  guided: tuple[settings.Fraction, ...] = (0.0, 1.0)
  error_budget: typing.Annotated[
    float, settings.at_least(0), settings.FINITE
  ] = 0.0

  def __post_init__(self):
    settings.check(self)
    mask_schedules.parse_schedule(self.schedule)
    guided_part.check(self.guided, self.steps, self.guidance)

  @property
  def has_fewer_passes(self) -> bool:
    """Whether steps are unguided, or images can end before the last step."""
    return self.guided != (0.0, 1.0) or self.error_budget > 0

  def guided_steps(self) -> tuple[bool, ...]:
    """Returns for each of the S steps whether it has guidance.

    >>> MaskGITSampler(4, 5.0, guided=(0.25, 0.75)).guided_steps()
    (False, True, True, False)
    """
    return guided_part.guided_steps(self.guided, self.steps, self.guidance)

  def temperatures(self) -> np.ndarray:
    """Returns float32[S], the scale of the Gumbel noise at each step."""
    factors = 1.0 - np.arange(1, self.steps + 1) / self.steps
    if self.compounding:
      factors = np.cumprod(factors)
    return (self.temperature * factors).astype(np.float32)


def sample_image(
  model,
  key,
  text,
  codes,
  known,
  config: MaskGITSampler,
  num_masked,
  choose=softmax_sampling.inverse_cdf,
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
      limits it to the number of masked codes minus 1. If it is a constant,
      no logits are computed of most codes that are not masked.
    choose: samples codes, (uniform numbers float32[R], logits float32[R, Z])
      -> int[R], for R codes, among them all that are masked.
    skipped: pads that were cut off on the left of `text`; positions
      count them.

  Returns:
    (codes int32[I], trace int32[S, I]: the codes before each step, -1 where
    masked).
  """
  start = jnp.where(known, codes, -1).astype(jnp.int32)
  _, drawn, trace = sample_steps(
    model,
    key,
    text,
    start,
    config,
    num_masked,
    0,
    config.guided_steps(),
    choose,
    skipped=skipped,
  )
  return drawn, trace


def likeliest(logits: jax.Array, drawn: jax.Array) -> jax.Array:
  """Fills a draft with the likeliest codes, a `fill` of `sample_steps`.

  Args:
    logits: float32[R, Z].
    drawn: int32[R], sampled codes.

  Returns:
    int32[R].
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
  begin,
  guided: tuple[bool, ...],
  choose=softmax_sampling.inverse_cdf,
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
    state: int32[I], codes after the steps before these, -1 where masked.
    config: settings.
    num_masked: int32[S], see `sample_image`.
    begin: int or int32[], number of the first step.
    guided: whether each of these steps has guidance (with two branches of
      `text`), see `MaskGITSampler.guided_steps`; static.
    choose: see `sample_image`.
    fill: codes of a draft where codes are still masked, (logits float32[R, Z]
      of the last step, sampled codes int32[R]) -> int32[R].
    skipped: see `sample_image`.

  Returns:
    (codes int32[I] after the last step, -1 where masked; a draft int32[I],
    the same codes with `fill` at masked positions; trace int32[steps, I]).
  """
  vocab = model.config.vocab
  prefix_size = text[0].tokens.shape[-1]
  size = state.shape[0]
  if not any(guided):
    text = text[:1]
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

  def predict(state, places, is_guided):
    row = jnp.where(state < 0, vocab.mask, state + vocab.image_offset)
    row = jnp.concatenate(
      [jnp.array([vocab.soi]), row, jnp.array([vocab.eoi])]
    ).astype(jnp.int32)

    def branch(prefix, begin):
      mask = [attention_mask.Interval(start=begin[None]), None]
      # <|soi|> precedes the codes.
      return model.decoder(
        model.embed(row), mask, positions, past=[prefix], places=1 + places
      )[0]

    branches = prefix, begins
    if not is_guided:
      branches = jax.tree.map(lambda a: a[:1], branches)
    hidden = jax.vmap(branch)(*branches)
    if len(hidden) == 1:
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

  def step(work, state, inputs):
    is_guided, most = work
    numbers, noise, keep_masked, temperature = inputs
    masked = jnp.less(state, 0)
    places, put = masked_steps.masked_places(masked, most)
    logits = predict(state, places, is_guided) / config.code_temperature
    chosen = choose(numbers[places], logits).astype(jnp.int32)
    chosen = jnp.where(masked[places], chosen, jnp.take(state, places))
    logps = jax.nn.log_softmax(logits, axis=-1)
    logps = jnp.take_along_axis(logps, chosen[:, None], axis=-1)[:, 0]
    drawn = jnp.where(masked, put(chosen), state)
    stays = revealed_codes.still_masked(
      masked, put(logps), temperature * noise, keep_masked, config.error_budget
    )
    after = jnp.where(stays, -1, drawn)
    draft = jnp.where(after < 0, put(fill(logits, chosen)), drawn)
    return after, (state, draft)

  inputs = (
    *masked_steps.random_numbers(key, config.steps, size),
    jnp.asarray(num_masked, jnp.int32),
    jnp.asarray(config.temperatures()),
  )
  inputs = jax.tree.map(
    lambda a: jax.lax.dynamic_slice_in_dim(a, begin, len(guided)), inputs
  )
  work = masked_steps.work_of_steps(num_masked, size, begin, guided)
  # The first step stays outside of the scans: all images can share it.
  state, (before, draft) = step(
    work[0], state, jax.tree.map(lambda a: a[0], inputs)
  )
  traces, first = [before[None]], 1
  for same_work, steps in itertools.groupby(work[1:]):
    last = first + len(list(steps))
    part = jax.tree.map(operator.itemgetter(slice(first, last)), inputs)
    state, (before, drafts) = jax.lax.scan(
      functools.partial(step, same_work), state, part
    )
    traces.append(before)
    first, draft = last, drafts[-1]
  return state, draft, jnp.concatenate(traces)
