"""Samplers over batches: random keys by identity, rows grouped by length."""

from collections.abc import Sequence
import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import choice_scores
from hermesflow_jax.sampling import maskgit

# Rows are this many tokens long, or twice as many...
LENGTH_MULTIPLE = 16


@dataclasses.dataclass(frozen=True)
class Decoding:
  """One rung of a ladder of text samplers."""

  temperature: settings.PositiveFloat
  top_k: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)


GREEDY = Decoding(1.0, 1)


@functools.partial(jax.jit, static_argnames='candidates')
def _keys(root, hashes, candidates):
  def one(name, candidate):
    return jax.random.fold_in(jax.random.fold_in(root, name), candidate)

  numbers = jnp.arange(candidates)
  keys = jax.vmap(lambda h: jax.vmap(lambda c: one(h, c))(numbers))(hashes)
  return jax.random.key_data(keys)


def identity_keys(seed: int, names: Sequence[str], candidates: int):
  """Returns uint32[N, M, 2], the raw keys of each candidate of each name."""
  hashes = np.array([zlib.crc32(n.encode()) for n in names], np.uint32)
  return np.asarray(_keys(jax.random.key(seed), hashes, candidates))


def padded_length(size: int, most: int) -> int:
  """Returns the smallest multiple of BUCKET that holds `size`, up to `most`.

  So that few lengths are compiled, and few pads are computed.
  """
  return min(most, -(-size // LENGTH_MULTIPLE) * LENGTH_MULTIPLE)


def group_questions(
  counts: Sequence[int], shared: int, each: int
) -> np.ndarray:
  """Groups questions about the same image, so that it is read once for them.

  Args:
    counts: the questions of each image, one after the other.
    shared: tokens of an image.
    each: tokens of a question.

  Returns:
    int[G, Q], the numbers of the questions of each group; a group that lacks
    some repeats its last. Q is what makes the fewest tokens in all.
  """
  counts = np.asarray(counts)

  def cost(size):
    return int(np.ceil(counts / size).sum()) * (shared + size * each)

  size = min(range(1, int(counts.max()) + 1), key=cost)
  groups, start = [], 0
  for count in counts:
    for begin in range(0, count, size):
      row = np.minimum(np.arange(begin, begin + size), count - 1)
      groups.append(start + row)
    start += count
  return np.array(groups)


@functools.partial(jax.jit, static_argnames=('config', 'skipped'))
def draw_images(model, keys, rows, given, empty, counts, config, skipped):
  """int32[N, M, I]: M images of each of N captions.

  `given` is None, or (codes [N, M, I], known bool[N, M, I]).
  """

  def one(key, row, given, empty):
    text = [row, empty] if config.guidance else [row]
    codes, _ = maskgit.sample_image(
      model,
      jax.random.wrap_key_data(key),
      text,
      *given,
      config,
      counts,
      skipped=skipped,
    )
    return codes

  each = 0
  if given is None:
    size = model.config.image_tokens
    given, each = (jnp.zeros(size, jnp.int32), jnp.zeros(size, bool)), None
  every = jax.vmap(one, (0, None, each, None))
  return jax.vmap(every, (0, 0, each, None))(keys, rows, given, empty)


@functools.partial(jax.jit, static_argnames=('max_new', 'most'))
def write_replies(model, keys, images, prompts, lengths, rungs, max_new, most):
  """int32[N, Q, M, max_new]: a reply a rung to Q prompts about N images."""

  def one(key, image, prompt, length, rung):
    return autoregressive.sample_text(
      model,
      jax.random.wrap_key_data(key),
      image,
      prompt,
      length,
      max_new=max_new,
      temperature=rung[0],
      top_k=rung[1],
      most=most,
      stop=model.config.vocab.eos,
    )

  every = jax.vmap(one, (0, None, None, None, 0))
  every = jax.vmap(every, (0, None, 0, 0, None))
  return jax.vmap(every, (0, 0, 0, 0, None))(
    keys, images, prompts, lengths, rungs
  )


@functools.partial(jax.jit, static_argnames='rule')
def score_choices(model, images, prompts, lengths, choices, rule):
  """float32[N, Q, C]: the choices of Q questions about each of N images."""

  def one(image, prompt, length, choices):
    return choice_scores.score_choices(
      model, image, prompt, length, choices, rule
    )

  every = jax.vmap(one, (None, 0, 0, 0))
  return jax.vmap(every)(images, prompts, lengths, choices)


@jax.jit
def encode_batch(tokenizer, images):
  pixels = images.astype(jnp.float32) / 127.5 - 1.0
  codes = tokenizer.codes(tokenizer.encode(pixels))
  return codes.reshape(codes.shape[0], -1)


@functools.partial(jax.jit, static_argnames='grid')
def decode_batch(tokenizer, codes, grid):
  pixels = tokenizer.decode(codes.reshape(-1, *grid))
  return jnp.rint(jnp.clip((pixels + 1.0) * 127.5, 0, 255)).astype(jnp.uint8)
