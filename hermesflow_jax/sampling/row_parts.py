"""Image and prompt parts of rows: with image codes, or with CLIP features."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import clip_pixels
from hermesflow_jax.sampling import batched
from hermesflow_jax.sequences import clip_rows
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


class Reader(Protocol):
  """Builds the parts of rows that ask a model about images."""

  def user_turn(self, question: str) -> str:
    """Formats a question as a prompt."""

  def parts(
    self,
    images: np.ndarray,
    image_of: np.ndarray,
    prompts: token_rows.Texts,
    most: int,
    longest: int | None = None,
  ) -> tuple[Any, token_rows.Rows, np.ndarray]:
    """Builds rows with few distinct lengths.

    Args:
      images: N images, in a form that the reader knows.
      image_of: int[B], the image of each prompt.
      prompts: B lists with text ids.
      most: maximum length of a row of image codes with its prompt.
      longest: tokens of the longest prompt; None: of these prompts.

    Returns:
      (image parts of N images, prompt Rows [B, P], lengths int32[B] of the
      prompts without pads). P is the longest prompt, see
      `batched.padded_length`.

    Raises:
      ValueError: a prompt does not fit.
    """

  def prepare(self, images):
    """Returns images in a form from which `parts` takes some quickly."""

  def blank(self, images):
    """Returns image parts that show nothing."""


@dataclasses.dataclass(frozen=True)
class CodeReader:
  """Rows of image codes, see `image_to_text.mmu_parts`; a Reader.

  Attributes:
    vocab: token ids.
  """

  vocab: vocabulary.Vocab

  def user_turn(self, question: str) -> str:
    """Formats a question as a prompt."""
    return text_tokenizer.user_turn(question)

  def prepare(self, images):
    """Returns the codes as they are."""
    return images

  def parts(self, images, image_of, prompts, most, longest=None):
    """Builds rows for codes int[N, I]; see `Reader`."""
    image = images.shape[-1] + 3
    if longest is None:
      longest = max(map(len, prompts), default=0)
    # <|sot|> precedes a prompt.
    length = image + batched.padded_length(longest + 1, most - image)
    rows, prompt_rows, lengths = image_to_text.mmu_parts(
      self.vocab, images[image_of], prompts, length
    )
    first = np.searchsorted(image_of, np.arange(len(images)))
    first = np.minimum(first, max(len(image_of) - 1, 0))
    return jax.tree.map(lambda a: a[first], rows), prompt_rows, lengths

  def blank(self, images: token_rows.Rows) -> token_rows.Rows:
    """Returns rows whose codes are all masked."""
    is_code = images.tokens >= self.vocab.image_offset
    tokens = np.where(is_code, self.vocab.mask, images.tokens)
    return dataclasses.replace(images, tokens=tokens)


@dataclasses.dataclass(frozen=True)
class ClipReader:
  """Rows of CLIP features, see `clip_rows`; a Reader.

  Attributes:
    vocab: token ids.
    system: ids of the system prompt.
    features: S, features per image.
    size: side of the images that the tower reads, in pixels.
    image_tokens: I, codes of a drawn image.
    decode: (codes int[N, I], side in pixels) -> uint8[N, side, side, 3].
  """

  vocab: vocabulary.Vocab
  system: Sequence[int]
  features: int
  size: int
  image_tokens: int
  decode: Any

  def user_turn(self, question: str) -> str:
    """Formats a question as a prompt."""
    return clip_rows.user_turn(question)

  def prepare(self, images):
    """Decodes codes int[N, I] to pixels; pixels stay as they are."""
    return self.decode(images, self.size) if images.ndim == 2 else images

  def parts(self, images, image_of, prompts, most, longest=None):
    """Builds rows for pixels uint8[N, H, W, 3] or codes; see `Reader`."""
    images = self.prepare(images)
    space = most - self.image_tokens - 3
    if longest is None:
      longest = max(map(len, prompts), default=0)
    image, prompt_rows, lengths = clip_rows.clip_parts(
      self.vocab,
      self.system,
      self.features,
      images,
      prompts,
      batched.padded_length(longest, space),
    )
    del image_of  # The tokens of all image parts are the same.
    tokens = np.repeat(image.tokens[:1], len(images), axis=0)
    return dataclasses.replace(image, tokens=tokens), prompt_rows, lengths

  def blank(self, images: clip_rows.ClipImage) -> clip_rows.ClipImage:
    """Returns gray images."""
    gray = np.broadcast_to(np.uint8(128), images.pixels.shape)
    return dataclasses.replace(images, pixels=gray)


def make_reader(unified) -> Reader:
  """Returns the reader of a model, by its vision tower.

  Args:
    unified: a `unified_model.UnifiedModel`.

  Raises:
    ValueError: the model reads CLIP features, and has no tower.
  """
  vocab = unified.vocab
  if unified.vision is None:
    if unified.model.config.clip_width:
      raise ValueError(
        'vision must be the CLIP tower of a model that reads CLIP features, '
        'got None; jobs that read images take it as --config.vision'
      )
    return CodeReader(vocab)

  def decode(codes, size):
    function = functools.partial(
      decode_to_size, unified.tokenizer, grid=unified.grid, size=size
    )
    return unified.sampler.map('decoding images', function, codes, padded=True)

  (system,) = unified.text.encode([clip_rows.SYSTEM_PROMPT])
  tower = unified.vision.config
  image_tokens = unified.grid[0] * unified.grid[1]
  return ClipReader(
    vocab, system, tower.patches, tower.image, image_tokens, decode
  )


@functools.partial(jax.jit, static_argnames=('grid', 'size'))
def decode_to_size(tokenizer, codes, grid: tuple[int, int], size: int):
  """Decodes codes and crops images to a square, see `clip_pixels`.

  Args:
    tokenizer: a Magvit.
    codes: int[N, I], image codes.
    grid: (h, w), image size in codes.
    size: side of the result, in pixels.

  Returns:
    uint8[N, size, size, 3].
  """
  images = batched.decode_batch(tokenizer, codes, grid)
  return clip_pixels.crop_square(images, size).astype(jnp.uint8)
