"""The unified model: generates images, describes images, answers questions.

Batches go over the mesh in chunks of few sizes, so few programs are compiled.
Random keys derive from input names and candidate numbers, not from
their order.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import early_finish
from hermesflow_jax.sampling import image_steps
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import mesh_sampler
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import row_parts
from hermesflow_jax.sequences import text_similarity
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows


@dataclasses.dataclass(frozen=True)
class UnifiedModel:
  """A Show-o model with its tokenizers, on a mesh.

  Attributes:
    model: a ShowO.
    tokenizer: a Magvit.
    text: text tokenizer.
    lengths: row lengths.
    grid: (h, w), image size in codes.
    mesh: device mesh.
    chunk: rows per compiled call; a multiple of the mesh's `data` axis.
    progress: (label) -> wrapper of iterables, e.g. a progress bar.
    answering: question answering settings.
    matcher: maps a free reply to the nearest choice.
    caption_prompt: prompt for captions.
    clock: `timing.DeviceClock`, or None.
    vision: a `clip.Clip`; then images to read may also be uint8[N, H, W, 3].
  """

  model: Any
  tokenizer: Any
  text: text_tokenizer.TextTokenizer
  lengths: token_rows.Lengths
  grid: tuple[int, int]
  mesh: Any
  chunk: int
  progress: Callable[[str], Callable]
  answering: question_answering.AnswerConfig = question_answering.AnswerConfig()
  matcher: text_similarity.Matcher = text_similarity.nearest_choices
  caption_prompt: str = text_tokenizer.CAPTION_PROMPT
  clock: Any = None
  vision: Any = None

  @property
  def vocab(self):
    """The model's vocabulary."""
    return self.model.config.vocab

  @functools.cached_property
  def sampler(self) -> mesh_sampler.MeshSampler:
    """The model's transformer on its mesh."""
    return mesh_sampler.MeshSampler(
      self.model, self.mesh, self.chunk, self.progress, self.clock, self.vision
    )

  @functools.cached_property
  def reader(self) -> row_parts.Reader:
    """Builds the parts of rows that ask about images."""
    return row_parts.make_reader(self)

  @property
  def answerer(self) -> question_answering.QuestionAnswerer:
    """Answers multiple-choice questions, also with probabilities."""
    return question_answering.QuestionAnswerer(
      self.sampler,
      self.text,
      self.vocab,
      self.lengths,
      self.answering,
      self.matcher,
      self.reader,
    )

  def encode(self, images: np.ndarray) -> np.ndarray:
    """Encodes images to codes.

    Args:
      images: uint8[N, H, W, 3], or `batching.BuiltRows` of them.

    Returns:
      int32[N, I], image codes.
    """
    encode = functools.partial(batched.encode_batch, self.tokenizer)
    return self.sampler.map('encoding images', encode, images)

  def decode(self, codes: np.ndarray) -> np.ndarray:
    """Decodes codes to images.

    Args:
      codes: int[N, I], image codes on `grid`, or int[N, h, w] on any grid.

    Returns:
      uint8[N, H, W, 3].
    """
    grid = self.grid if codes.ndim == 2 else codes.shape[1:]
    decode = functools.partial(batched.decode_batch, self.tokenizer, grid=grid)
    return self.sampler.map('decoding images', decode, codes)

  def draw(
    self,
    names: Sequence[str],
    captions: Sequence[str],
    candidates: int,
    sampler: maskgit.MaskGITSampler,
    seed: int,
    *,
    codes=None,
    known=None,
    first: int = 0,
  ) -> np.ndarray:
    """Samples images for captions.

    Args:
      names: N names, from which random keys derive.
      captions: N texts.
      candidates: K, images per caption.
      sampler: image sampler settings.
      seed: run seed, from 0 to 2**32 - 1; others raise ValueError.
      codes: int[N, K, I], codes to keep where `known`; or None.
      known: bool[N, K, I], positions to keep; None if `codes` is None.
      first: number of the first image; its random key depends on it.

    Returns:
      int32[N, K, I], image codes.
    """
    # Images and replies with the same name have different random keys.
    keys = batched.identity_keys(
      seed, [f'image/{n}' for n in names], first + candidates
    )[:, first:]
    known_codes = None if codes is None else (codes.astype(np.int32), known)
    steps = image_steps.prepare(self, captions, sampler)
    return early_finish.draw(steps, keys, known_codes)[0]

  def describe(
    self,
    names: Sequence[str],
    codes: np.ndarray,
    samplers: Sequence[batched.Decoding],
    seed: int,
  ) -> list[list[str]]:
    """Samples M captions of each image, one per sampler.

    Args:
      names: N names, from which random keys derive.
      codes: int[N, I], image codes.
      samplers: M text samplers.
      seed: run seed, from 0 to 2**32 - 1; others raise ValueError.

    Returns:
      N lists with M texts.
    """
    replies = self.reply(names, codes, [self.caption_prompt], samplers, seed)
    return [captions for (captions,) in replies]

  def reply(
    self,
    names: Sequence[str],
    codes: np.ndarray,
    prompts: Sequence[str],
    samplers: Sequence[batched.Decoding],
    seed: int,
  ) -> list[list[list[str]]]:
    """Samples M replies to each prompt about each image, one per sampler.

    Args:
      names: N names, from which random keys derive.
      codes: int[N, I], image codes.
      prompts: Q texts; all share the cache of their image.
      samplers: M text samplers.
      seed: run seed, from 0 to 2**32 - 1; others raise ValueError.

    Returns:
      [N][Q][M] texts.
    """
    turns = self.text.encode([self.reader.user_turn(p) for p in prompts])
    count, size = len(names), len(prompts)
    images = self.reader.prepare(codes)
    identities = [
      f'reply/{name}'
      + ('' if prompt == text_tokenizer.CAPTION_PROMPT else f'?{prompt}')
      for name in names
      for prompt in prompts
    ]
    keys = batched.identity_keys(seed, identities, len(samplers))
    keys = keys.reshape(count, size, *keys.shape[1:])

    def build(index):
      image, *parts = self.reader.parts(
        images[index],
        np.repeat(np.arange(len(index)), size),
        turns * len(index),
        self.lengths.prompt,
      )
      rows, lengths = jax.tree.map(
        lambda a: a.reshape(len(index), size, *a.shape[1:]), parts
      )
      return keys[index], image, rows, lengths

    tokens = self.sampler.map(
      'writing',
      functools.partial(self.sampler.write, samplers, self.lengths.reply),
      batching.BuiltRows(count, build, divided=True),
      size * len(samplers),
    )
    return [
      [[self.text.decode_reply(t) for t in replies] for replies in image]
      for image in tokens
    ]

  def answer(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers multiple-choice questions about images.

    Args:
      codes: int[N, I], image codes.
      questions: N lists with TIFA records.

    Returns:
      N lists with answers, see `question_answering.QuestionAnswerer`; '' if a
      free reply resembles no choice.
    """
    return self.answerer.answer(codes, questions)

  def check_question(self, question: dict) -> None:
    """Raises ValueError if a TIFA record does not fit into a row."""
    size = self.grid[0] * self.grid[1]
    question_answering.check_question(
      self.text, self.lengths, self.answering, question, size
    )

  def read_to(self, prompt: str) -> str | None:
    """Returns the last words of a caption that fit; None if all words fit."""
    # bos and eos take two places.
    space = self.lengths.max_text - 2
    (tokens,) = self.text.encode([prompt])
    if len(tokens) <= space:
      return None
    return self.text.decode(tokens[max(0, space - 6) : space])


def place_on_mesh(parts, mesh, chunk: int, **options) -> UnifiedModel:
  """Places a model and its image tokenizer on a device mesh.

  Args:
    parts: a `model_bundle.Bundle`.
    mesh: device mesh.
    chunk: images or texts that a device samples at once, at most.
    **options: further fields of `UnifiedModel`.
  """
  return UnifiedModel(
    model=jax.device_put(parts.model, sharding.shardings(parts.model, mesh)),
    tokenizer=jax.device_put(parts.tokenizer, sharding.replicated(mesh)),
    text=parts.text,
    lengths=parts.lengths,
    grid=parts.grid,
    mesh=mesh,
    chunk=chunk * mesh.shape['data'],
    **options,
  )
