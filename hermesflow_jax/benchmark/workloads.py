"""The work that a round of curation consists of, ours and naive.

Naive is the same work as one writes it first, and as the official code does
it: the whole row through the decoder for every step or token, logits of the
whole vocabulary at every position, nothing kept.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax import masking
from hermesflow_jax import masks
from hermesflow_jax import prompting
from hermesflow_jax import sampling
from hermesflow_jax import settings
from hermesflow_jax.benchmark import cost
from hermesflow_jax.models import showo


@dataclasses.dataclass(frozen=True)
class Images:
  """Images of captions.

  Attributes:
    count: images at once.
    grid: side of the square of codes.
    steps: of MaskGIT.
    guidance: > 0.
    text: tokens of a caption's part of a row, bos and eos included.
    naive_steps: as many steps the naive way runs; its time is scaled up.
  """

  count: int
  grid: int
  steps: int
  guidance: float
  text: int
  naive_steps: int

  def __post_init__(self):
    settings.require(self, dict.fromkeys(
        ('count', 'grid', 'steps', 'text', 'naive_steps'), 1
    ), above=('guidance',))


@dataclasses.dataclass(frozen=True)
class Replies:
  """Replies to prompts about images.

  Attributes:
    images: at once.
    each: replies about an image: candidates of one prompt, or questions.
    shared: whether they reply to the same prompt.
    grid: side of the square of codes.
    prompt: tokens of a prompt.
    tokens: of a reply.
    naive_calls: as many calls of the model the naive way runs, evenly spread
      over the lengths of a row; their time is scaled up.
  """

  images: int
  each: int
  shared: bool
  grid: int
  prompt: int
  tokens: int
  naive_calls: int

  def __post_init__(self):
    settings.require(self, dict.fromkeys(
        ('images', 'each', 'grid', 'prompt', 'tokens', 'naive_calls'), 1
    ))


@dataclasses.dataclass(frozen=True)
class Work:
  """Something to time.

  Attributes:
    call: of `arguments`; jitted.
    arguments: arrays.
    scale: what its time is multiplied by: the naive way runs a part.
    trips: of its `while` loops.
  """

  call: Callable
  arguments: tuple[Any, ...]
  scale: float = 1.0
  trips: int = 1


def codes_of(rng: np.random.Generator, config: showo.ShowOConfig, *shape):
  """Returns random codes int32[shape]."""
  return rng.integers(0, config.vocab.codebook_size, shape).astype(np.int32)


def texts_of(
    rng: np.random.Generator, config: showo.ShowOConfig, count: int, size: int
) -> list[list[int]]:
  """Returns `count` random texts of `size` tokens."""
  return rng.integers(0, config.vocab.text_size - 10, (count, size)).tolist()


def images(model, workload: Images, rng: np.random.Generator) -> Work:
  """Returns the sampler of images at work."""
  vocab = model.config.vocab
  size = workload.grid**2
  sampler = sampling.MaskGIT(workload.steps, workload.guidance)
  counts = masking.schedule_counts(workload.steps, size, masking.cosine)
  words = texts_of(rng, model.config, workload.count, workload.text - 2)
  rows = prompting.t2i_prefix(vocab, words, workload.text)
  empty = prompting.t2i_prefix(vocab, [[]], workload.text)
  pairs = jax.tree.map(
      lambda a, b: np.stack([a, np.broadcast_to(b, a.shape)], 1), rows, empty
  )
  keys = jax.random.split(jax.random.key(0), workload.count)

  def one(model, key, pair):
    codes, _ = sampling.sample_image(
        model, key, pair, jnp.zeros(size, jnp.int32), jnp.zeros(size, bool),
        sampler, counts,
    )
    return codes

  return Work(jax.jit(jax.vmap(one, (None, 0, 0))), (model, keys, pairs))


def naive_images(model, workload: Images, rng: np.random.Generator) -> Work:
  """Returns the naive way to the same images, some of its steps."""
  vocab = model.config.vocab
  size = workload.grid**2
  words = texts_of(rng, model.config, workload.count, workload.text - 2)
  zeros = np.zeros((workload.count, size), np.int32)
  rows = prompting.t2i_rows(vocab, words, zeros, workload.text)
  empty = prompting.t2i_rows(
      vocab, [[]] * workload.count, zeros, workload.text
  )
  tokens = np.concatenate([rows.tokens, empty.tokens])
  start = workload.text + 2
  tokens[:, start:start + size] = vocab.mask
  ar = np.concatenate([rows.ar, empty.ar])
  valid = np.concatenate([rows.valid, empty.valid])
  counts = masking.schedule_counts(workload.steps, size, masking.cosine)
  guidance = workload.guidance

  def run(model, key, tokens, ar, valid):
    mask = masks.visible(ar, valid)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)

    def step(tokens, inputs):
      key, count = inputs
      hidden, _ = model(tokens, mask, positions)
      logits = model.logits(hidden)
      cond, uncond = jnp.split(logits, 2)
      logits = (1 + guidance) * cond - guidance * uncond
      first = vocab.image_offset
      logits = logits[:, start:start + size, first:first + vocab.codebook_size]
      draw, noise = jax.random.split(key)
      drawn = jax.random.categorical(draw, logits) + first
      now = tokens[:workload.count, start:start + size]
      drawn = jnp.where(now == vocab.mask, drawn, now)
      logps = jax.nn.log_softmax(logits)
      sure = jnp.take_along_axis(
          logps, (drawn - first)[..., None], axis=-1
      )[..., 0] + jax.random.gumbel(noise, drawn.shape)
      sure = jnp.where(now == vocab.mask, sure, jnp.inf)
      cut = jnp.sort(sure, axis=-1)[:, count][:, None]
      after = jnp.where(sure < cut, vocab.mask, drawn).astype(jnp.int32)
      return tokens.at[:, start:start + size].set(
          jnp.concatenate([after, after])
      ), None

    keys = jax.random.split(key, workload.naive_steps)
    return jax.lax.scan(
        step, tokens, (keys, counts[:workload.naive_steps])
    )[0]

  return Work(
      jax.jit(run), (model, jax.random.key(0), tokens, ar, valid),
      workload.steps / workload.naive_steps,
  )


def useful_images(config: showo.ShowOConfig, workload: Images) -> float:
  """Returns the FLOPs that images need."""
  decoder, rows = config.decoder, workload.grid**2 + 2
  text = cost.tokens(decoder, workload.text + 1, (workload.text + 2) / 2)
  nothing = cost.tokens(decoder, 3, 2)
  step = cost.tokens(decoder, rows, rows + workload.text + 1)
  step += cost.tokens(decoder, rows, rows + 3)
  step += cost.head(decoder, rows - 2, config.vocab.codebook_size)
  return workload.count * (text + nothing + workload.steps * step)


def parts_of(model, workload: Replies, rng: np.random.Generator):
  """Returns (images Rows [N, E], prompts Rows [N, Q, P], lengths [N, Q]).

  Q is 1 if all replies are to one prompt.
  """
  config = model.config
  count = 1 if workload.shared else workload.each
  codes = codes_of(rng, config, workload.images, workload.grid**2)
  total = workload.images * count
  words = texts_of(rng, config, total, workload.prompt)
  image, prompt, lengths = prompting.mmu_parts(
      config.vocab, np.repeat(codes, count, 0), words,
      workload.grid**2 + 4 + workload.prompt,
  )

  def grouped(a):
    return a.reshape(workload.images, count, *a.shape[1:])

  image = jax.tree.map(lambda a: grouped(a)[:, 0], image)
  return image, jax.tree.map(grouped, prompt), grouped(lengths)


def replies(model, workload: Replies, rng: np.random.Generator) -> Work:
  """Returns the sampler of replies at work; none of them ends early."""
  image, prompt, lengths = parts_of(model, workload, rng)
  keys = jax.random.split(
      jax.random.key(0), (workload.images, workload.each)
  )
  stretch = 16

  def one(model, key, image, prompt, length):
    return sampling.sample_text(
        model, key, image, prompt, length, max_new=workload.tokens,
        temperature=1.0, top_k=4, most=4, stop=-1, stretch=stretch,
    )

  if workload.shared:
    prompt, lengths = jax.tree.map(lambda a: a[:, 0], (prompt, lengths))
    inner = jax.vmap(one, (None, 0, None, None, None))
  else:
    inner = jax.vmap(one, (None, 0, None, 0, 0))
  return Work(
      jax.jit(jax.vmap(inner, (None, 0, 0, 0, 0))),
      (model, keys, image, prompt, lengths),
      trips=-(-workload.tokens // min(stretch, workload.tokens)),
  )


def naive_rows(
    model, workload: Replies, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Returns (tokens int64[T], sees bool[T, T]) of some naive calls.

  One row at a time, of evenly spread lengths between the prompt's and that of
  the whole reply.
  """
  image, prompt, _ = parts_of(model, workload, rng)
  head = np.concatenate([image.tokens[0], prompt.tokens[0, 0]])
  ar = np.concatenate([image.ar[0], prompt.ar[0, 0]])
  calls = workload.naive_calls
  lengths = ((np.arange(calls) + 0.5) / calls * workload.tokens).astype(int)
  rows = []
  for length in lengths:
    tokens = np.concatenate([head, np.resize(head[-5:], length)])
    blocks = np.concatenate([ar, np.ones(length, ar.dtype)])
    sees = np.asarray(masks.visible(blocks, np.ones(len(tokens), bool)))
    rows.append((tokens, sees))
  return rows


def naive_calls(workload: Replies) -> int:
  """Returns how often the naive way calls the model in all."""
  return workload.images * workload.each * workload.tokens


def naive_replies(
    model, workload: Replies, rng: np.random.Generator
) -> list[Work]:
  """Returns some calls of the naive way, each of a length of its own."""

  @jax.jit
  def next_token(model, tokens, sees):
    hidden, _ = model(tokens, sees, jnp.arange(tokens.size))
    return model.logits(hidden)[-1].argmax()

  scale = naive_calls(workload) / workload.naive_calls
  return [
      Work(next_token, (model, tokens.astype(np.int32), sees), scale)
      for tokens, sees in naive_rows(model, workload, rng)
  ]


def useful_replies(config: showo.ShowOConfig, workload: Replies) -> float:
  """Returns the FLOPs that replies need."""
  decoder, image = config.decoder, workload.grid**2 + 3
  prompts = 1 if workload.shared else workload.each
  prompt, tokens = workload.prompt + 1, workload.tokens
  one = cost.tokens(decoder, image, image)
  one += prompts * cost.tokens(decoder, prompt, image + (prompt + 1) / 2)
  # The last token of a reply is not read.
  seen = image + prompt + tokens / 2
  one += workload.each * cost.tokens(decoder, tokens - 1, seen)
  rows = workload.each * (tokens - 1) + prompts
  one += cost.head(decoder, rows, config.vocab.text_size)
  return workload.images * one


def together(works: Sequence[Work], timed: Callable[[Work], float]) -> float:
  """Returns the seconds of several works, each scaled."""
  return functools.reduce(lambda a, w: a + w.scale * timed(w), works, 0.0)
