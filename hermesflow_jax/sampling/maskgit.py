"""Samplers, each written for one example: images, text, answers.

Callers `jax.vmap` them over candidates and inputs. A prefix is computed once
and kept as keys and values: text never sees the image in front of which it
stands, so the text of an image row is not computed again at each step. What
candidates or questions share is not mapped over (`in_axes=None`), and so
computed, kept and read once for all of them.
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
  """How an image is sampled (arXiv 2202.04200); hashable, so jit-static.

  Attributes:
    steps: S, forward passes; at least 1.
    guidance: g >= 0 of (1 + g) cond - g uncond.
    temperature: >= 0, of the Gumbel noise on the confidence, before annealing.
    schedule: name of the mask schedule, see `mask_schedules.SCHEDULES`.
    compounding: anneal as the official code does (the factor 1 - (s+1)/S is
      applied to the annealed temperature of the step before).
    code_temperature: > 0, divides the logits before a code is drawn; 1 is the
      model's own distribution.

  Raises:
    ValueError: lists every number out of its bounds; or there is no such
      schedule.
  """

  steps: settings.PositiveInt
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
    """Returns float32[S], the confidence temperature of each step."""
    factors = 1.0 - np.arange(1, self.steps + 1) / self.steps
    if self.compounding:
      factors = np.cumprod(factors)
    return (self.temperature * factors).astype(np.float32)


def inverse_cdf(key, logits: jax.Array) -> jax.Array:
  """Draws one index per row from softmax(logits), with one uniform each.

  The distribution is that of `jax.random.categorical`, whose noise for every
  index of every row took most of the time of an image on a CPU. The
  cumulative sum runs over blocks of about sqrt(V), then inside one block.

  Args:
    key: a random key.
    logits: float32[..., V].

  Returns:
    int32[...].
  """
  size = logits.shape[-1]
  block = math.isqrt(size - 1) + 1
  weights = jnp.exp(logits - logits.max(-1, keepdims=True))
  room = [(0, 0)] * (logits.ndim - 1) + [(0, -size % block)]
  weights = jnp.pad(weights, room).reshape(*logits.shape[:-1], -1, block)
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
  """The first index whose cumulative weight exceeds `point`.

  Rounding may put the point beyond all, or before all; then it is the last or
  the first index with any weight, so that nothing impossible is drawn.
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
  """Samples the codes of one image by masked prediction.

  Args:
    model: a ShowO.
    key: the random key of this image.
    text: Rows [P] of `token_rows.t2i_prefix`: (condition,) without guidance,
      (condition, empty condition) with it. What of these, of `codes` and of
      `known` is not mapped over is read once for all images; so is the first
      step, up to its noise.
    codes: int32[I], codes given in advance where `known`.
    known: bool[I], positions that are never changed.
    config: steps, guidance, noise.
    num_masked: int32[S], the tokens left masked after each step for I tokens
      (`mask_schedules.schedule_counts`); never below one or above those masked - 1.
    choose: (key, logits[I, Z]) -> codes[I]; argmax in parity tests.
    skipped: pads that were left out on the left of `text`; positions count
      them.

  Returns:
    (codes int32[I], trace int32[S, I] of the codes before each step, -1
    where masked).
  """
  vocab = model.config.vocab
  branches, prefix_size = len(text), text[0].tokens.shape[-1]
  size = codes.shape[0]
  # One by one, so that what images share is not computed for each.
  prefixes = [
    prefix_cache.prefill(model, rows, start=skipped)[1] for rows in text
  ]
  prefix = jax.tree.map(lambda *a: jnp.stack(a), *prefixes)
  positions = skipped + prefix_size + jnp.arange(size + 2)
  # Every row of the image block sees the text that is there, and the block.
  begins = jnp.stack([jnp.argmax(rows.valid) for rows in text])
  begins = begins.astype(jnp.int32)
  head = model.code_head()

  def predict(state):
    row = jnp.where(state < 0, vocab.mask, state + vocab.image_offset)
    row = jnp.concatenate(
      [jnp.array([vocab.soi]), row, jnp.array([vocab.eoi])]
    ).astype(jnp.int32)

    def branch(prefix, begin):
      sees = [attention_mask.Interval(start=begin[None]), None]
      hidden, _ = model.decoder(
        model.embed(row), sees, positions, past=[prefix]
      )
      return hidden[1:-1]

    hidden = jax.vmap(branch)(prefix, begins)
    if branches == 1:
      return head(hidden[0])
    # The head is affine and the weights sum to 1, so guidance of the hidden
    # states is guidance of the logits, with one product in place of two.
    # Guidance multiplies rounding errors, so it comes before the one rounding
    # to bfloat16 that the head needs. At guidance 5 (width 256, 4 layers,
    # random weights, 8,192 codes) rounded states and logits change the
    # likeliest code at 2.3% of the masked positions, rounded states at 1.8%,
    # this at 0.3%; a second product, of what is rounded off, would change none
    # but cost twice as much. The decoder's own bfloat16 changes 5.9%.
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
    # By rank: the compiler may compute a confidence twice, rounded otherwise,
    # and the one that a cut was taken from would then lie below it.
    rank = jnp.argsort(jnp.argsort(confidence))
    return jnp.where(masked & (rank < count), -1, drawn), (state, drawn)

  start = jnp.where(known, codes, -1).astype(jnp.int32)
  inputs = (
    jax.random.split(key, config.steps),
    jnp.asarray(num_masked, jnp.int32),
    jnp.asarray(config.temperatures()),
  )
  # Apart from the others, which start from what was drawn.
  state, once = step(start, jax.tree.map(lambda a: a[0], inputs))
  _, later = jax.lax.scan(step, state, jax.tree.map(lambda a: a[1:], inputs))
  trace, drawn = jax.tree.map(
    lambda a, b: jnp.concatenate([a[None], b]), once, later
  )
  return drawn[-1], trace
