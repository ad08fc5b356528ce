"""Compiled programs that run the samplers over batches."""

from collections.abc import Sequence
import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import number_bounds
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import choice_scores
from hermesflow_jax.sampling import maskgit

# Lengths of rows are padded to multiples of this, to compile few programs.
LENGTH_MULTIPLE = 16


@dataclasses.dataclass(frozen=True)
class Decoding:
  """Text sampler settings.

  Attributes:
    temperature: above 0, divides the logits.
    top_k: at least 1, likeliest tokens to sample from; 1 is greedy.

  Raises:
    ValueError: a setting is invalid.
  """

  temperature: settings.PositiveFloat
  top_k: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)


GREEDY = Decoding(1.0, 1)


@functools.partial(jax.jit, static_argnames='candidates')
def _keys(root, hashes, candidates):
  def candidate_key(name, candidate):
    return jax.random.fold_in(jax.random.fold_in(root, name), candidate)

  numbers = jnp.arange(candidates)
  keys = jax.vmap(lambda h: jax.vmap(lambda c: candidate_key(h, c))(numbers))(
    hashes
  )
  return jax.random.key_data(keys)


def identity_keys(seed: int, names: Sequence[str], candidates: int):
  """Derives random keys from names, independent of their order.

  Args:
    seed: run seed.
    names: N names.
    candidates: number of candidates per name.

  Returns:
    uint32[N, candidates, 2], raw keys.

  Raises:
    ValueError: see `number_bounds.check_seed`.
  """
  seed = number_bounds.check_seed(seed)
  hashes = np.array([zlib.crc32(n.encode()) for n in names], np.uint32)
  # Padded to a power of two, so that few sizes are compiled.
  padded = np.resize(hashes, max(64, 1 << (len(names) - 1).bit_length()))
  keys = _keys(jax.random.key(seed), padded, candidates)
  return np.asarray(keys)[: len(names)]


def padded_length(size: int, most: int) -> int:
  """Rounds `size` up to a multiple of LENGTH_MULTIPLE, but at most `most`."""
  return min(most, -(-size // LENGTH_MULTIPLE) * LENGTH_MULTIPLE)


def group_questions(
  counts: Sequence[int], image_size: int, prompt_size: int
) -> np.ndarray:
  """Groups questions about the same image, so that groups share its cache.

  Args:
    counts: number of questions about each image; questions are numbered image
      by image.
    image_size: tokens per image.
    prompt_size: tokens per question.

  Returns:
    int[G, Q], question numbers of each group. An incomplete group repeats the
    last question of its image. Q minimizes the total token count.
  """
  counts = np.asarray(counts)

  def total_tokens(size):
    groups = int(np.ceil(counts / size).sum())
    return groups * (image_size + size * prompt_size)

  size = min(range(1, int(counts.max()) + 1), key=total_tokens)
  groups, start = [], 0
  for count in counts:
    for begin in range(0, count, size):
      row = np.minimum(np.arange(begin, begin + size), count - 1)
      groups.append(start + row)
    start += count
  return np.array(groups)


@functools.partial(jax.jit, static_argnames=('counts', 'config', 'skipped'))
def draw_images(model, keys, rows, known_codes, empty, counts, config, skipped):
  """Samples K images for each of N captions.

  Args:
    model: a ShowO.
    keys: uint32[N, K, 2], raw random keys.
    rows: Rows [N, P], captions from `text_to_image.t2i_prefix`.
    known_codes: (codes int32[N, K, I], known bool[N, K, I]), codes to keep
      where known; or None.
    empty: Rows [P], the empty caption, used by guidance.
    counts: S numbers, codes that stay masked after each step.
    config: maskgit.MaskGITSampler.
    skipped: pads that were cut off on the left of the rows.

  Returns:
    int32[N, K, I], image codes.
  """

  def draw_image(key, row, known_codes, empty):
    text = [row, empty] if config.guidance else [row]
    codes, _ = maskgit.sample_image(
      model,
      jax.random.wrap_key_data(key),
      text,
      *known_codes,
      config,
      counts,
      skipped=skipped,
    )
    return codes

  axis = 0
  if known_codes is None:
    size = model.config.image_tokens
    known_codes, axis = (
      (jnp.zeros(size, jnp.int32), jnp.zeros(size, bool)),
      None,
    )
  draw_candidates = jax.vmap(draw_image, (0, None, axis, None))
  return jax.vmap(draw_candidates, (0, 0, axis, None))(
    keys, rows, known_codes, empty
  )


@functools.partial(jax.jit, static_argnames=('max_new', 'most'))
def write_replies(
  model, keys, images, prompts, lengths, samplers, max_new, most
):
  """Samples M replies to each of Q prompts about each of N images.

  Args:
    model: a ShowO.
    keys: uint32[N, Q, M, 2], raw random keys.
    images: Rows [N, E], see `image_to_text.mmu_parts`.
    prompts: Rows [N, Q, P], see `image_to_text.mmu_parts`.
    lengths: int32[N, Q], prompt lengths without pads.
    samplers: (temperature float32[M], top_k int32[M]) of the M replies.
    max_new: limit on generated tokens.
    most: largest `top_k`.

  Returns:
    int32[N, Q, M, max_new], token ids.
  """

  def write_reply(key, image, prompt, length, sampler):
    return autoregressive.sample_text(
      model,
      jax.random.wrap_key_data(key),
      image,
      prompt,
      length,
      max_new=max_new,
      temperature=sampler[0],
      top_k=sampler[1],
      most=most,
      stop=model.config.vocab.eos,
    )

  over_samplers = jax.vmap(write_reply, (0, None, None, None, 0))
  over_prompts = jax.vmap(over_samplers, (0, None, 0, 0, None))
  return jax.vmap(over_prompts, (0, 0, 0, 0, None))(
    keys, images, prompts, lengths, samplers
  )


@functools.partial(jax.jit, static_argnames='rule')
def score_choices(model, images, prompts, lengths, choices, rule):
  """Scores the choices of Q questions about each of N images.

  Args:
    model: a ShowO.
    images: Rows [N, E], see `image_to_text.mmu_parts`.
    prompts: Rows [N, Q, P], see `image_to_text.mmu_parts`.
    lengths: int32[N, Q], prompt lengths without pads.
    choices: choice_tokens.Choices with leading axes [N, Q].
    rule: a function in `choice_rules.RULES`.

  Returns:
    float32[N, Q, C], scores.
  """

  def score_question(image, prompt, length, choices):
    return choice_scores.score_choices(
      model, image, prompt, length, choices, rule
    )

  over_questions = jax.vmap(score_question, (None, 0, 0, 0))
  return jax.vmap(over_questions)(images, prompts, lengths, choices)


@jax.jit
def encode_batch(tokenizer, images):
  """Encodes images uint8[N, H, W, 3] to codes int32[N, I] with a Magvit."""
  pixels = images.astype(jnp.float32) / 127.5 - 1.0
  codes = tokenizer.codes(tokenizer.encode(pixels))
  return codes.reshape(codes.shape[0], -1)


@functools.partial(jax.jit, static_argnames='grid')
def decode_batch(tokenizer, codes, grid):
  """Decodes codes to images with a Magvit.

  Args:
    tokenizer: a Magvit.
    codes: int[N, I], image codes, or int[N, h, w].
    grid: (h, w), image size in codes.

  Returns:
    uint8[N, H, W, 3].
  """
  pixels = tokenizer.decode(codes.reshape(-1, *grid))
  return jnp.rint(jnp.clip((pixels + 1.0) * 127.5, 0, 255)).astype(jnp.uint8)
