"""A model that computes nothing, to measure the host alone.

Rows are built, sent to the devices and fetched as in a run. Instead of a
model, a few operations turn random keys into codes, words and scores.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import phi_config
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import pair_margins
from hermesflow_jax.sampling import mesh_sampler
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

CODEBOOK, CAPTION_WORDS = 8_192, 30
CHOICES = ('yes', 'no', 'red', 'blue')
WORDS = tuple(f'w{n}' for n in range(2_000))
_PROMPT_WORDS = 'user : give a caption for this image . assistant'
# Longest texts, in tokens.
_TEXT, _REPLY = 128, 100


class _NoModel:
  """Sizes of a model without parameters."""

  def __init__(self, config: showo.ShowOConfig):
    self.config = config


class IdleSampler(mesh_sampler.MeshSampler):
  """Maps stand-ins over inputs in place of the samplers."""

  def map(self, label: str, function: Callable, arrays, *values, **options):
    """Maps the stand-in with this label; see `MeshSampler.map`."""
    del function
    config = self.model.config
    stand_ins = {
      'writing': functools.partial(_write, config.vocab.text_size),
      'drawing images': functools.partial(_draw, config.image_tokens),
      'answering questions': _answer,
    }
    return super().map(label, stand_ins[label], arrays, *values, **options)


class IdleModel(unified_model.UnifiedModel):
  """A unified model without parameters."""

  @functools.cached_property
  def sampler(self) -> IdleSampler:
    """The stand-ins on the mesh."""
    return IdleSampler(
      self.model, self.mesh, self.chunk, self.progress, self.clock
    )


def make(grid: int, mesh: jax.sharding.Mesh, chunk: int) -> IdleModel:
  """Returns a model that draws images with grid x grid codes.

  Args:
    grid: codes along a side of an image.
    mesh: device mesh.
    chunk: rows that a device computes at once.
  """
  text = text_tokenizer.word_level_tokenizer(
    [*WORDS, *CHOICES, *_PROMPT_WORDS.split()]
  )
  codes = grid * grid
  sizes = showo.ShowOConfig(
    vocabulary.Vocab(text.size, CODEBOOK, text.eos),
    phi_config.PhiConfig(width=16, layers=1, heads=2, mlp=16),
    codes,
  )
  row = codes + 2 * _TEXT
  return IdleModel(
    model=_NoModel(sizes),
    tokenizer=None,
    text=text,
    lengths=token_rows.Lengths(_TEXT, row, row, _TEXT, _REPLY),
    grid=(grid, grid),
    mesh=mesh,
    chunk=chunk * mesh.shape['data'],
    progress=lambda label: lambda items: items,
  )


def _mix(keys: jax.Array, length: int, size: int) -> jax.Array:
  """Returns int32[..., length] in [0, size) that differ by key uint32[...]."""
  numbers = keys[..., None] + jnp.arange(length, dtype=jnp.uint32) * jnp.uint32(
    2654435761
  )
  numbers = (numbers ^ (numbers >> 15)) * jnp.uint32(2246822519)
  return ((numbers ^ (numbers >> 13)) % size).astype(jnp.int32)


@functools.partial(jax.jit, static_argnums=0)
def _write(text_size, batch):
  """Returns captions int32[N, Q, M, R], CAPTION_WORDS words each."""
  keys, *_ = batch
  # The first two ids are an unknown word and the end.
  words = 2 + _mix(keys.sum(-1), _REPLY, text_size - 2)
  return jnp.where(jnp.arange(_REPLY) < CAPTION_WORDS, words, 1)


@functools.partial(jax.jit, static_argnums=0)
def _draw(codes, batch):
  """Returns codes int32[N, K, I]."""
  keys, *_ = batch
  return _mix(keys.sum(-1), codes, CODEBOOK)


@jax.jit
def _answer(batch):
  """Returns scores float32[N, Q, C] of choices."""
  image, prompts, _, choices = batch
  keys = image.tokens.sum(-1)[:, None] + prompts.tokens.sum(-1)
  scores = _mix(keys.astype(jnp.uint32), choices.valid.shape[-2], CODEBOOK)
  return scores.astype(jnp.float32)


def score_pairs(
  reference, tower, packed, masked, pixels, **options
) -> pair_margins.PairValues:
  """Returns a log-likelihood of 0 for both sides of both pairs, float32[B, 2].

  Args:
    reference: not used.
    tower: not used.
    packed: B records.
    masked: not used.
    pixels: not used.
    **options: not used.
  """
  del reference, tower, masked, pixels, options
  return _zeros(packed.codes[:, :, 0])


@jax.jit
def _zeros(codes):
  zeros = jnp.zeros_like(codes, jnp.float32)
  return pair_margins.PairValues(zeros, zeros)


def judge(
  codes: np.ndarray, questions: Sequence[Sequence[dict]]
) -> list[list[str]]:
  """Returns an answer to each question by the first code; see `gap.Judge`.

  Args:
    codes: int32[N, I], image codes.
    questions: N lists of TIFA records.
  """
  return [
    [CHOICES[int(image[0]) % len(CHOICES)] for _ in records]
    for image, records in zip(codes, questions, strict=True)
  ]


def likeness(
  captions: Sequence[str], true_captions: Sequence[str]
) -> np.ndarray:
  """Returns scores float64[N] in [0, 1) that depend on the captions alone.

  Args:
    captions: N captions.
    true_captions: N true captions, which are not read.
  """
  del true_captions
  return np.array([zlib.crc32(text.encode()) % 997 / 997 for text in captions])
