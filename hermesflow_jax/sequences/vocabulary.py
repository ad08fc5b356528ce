"""Vocabulary of text tokens, special tokens and image codes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Vocab:
  """Layout of the token ids, from 0 upwards.

      text | pad soi eoi sov eov t2i mmu t2v v2v lvg | image codes | mask

  Attributes:
    text_size: text token count, ids [0, text_size).
    codebook_size: image code count, ids [image_offset, mask).
    eos: text token that begins and ends every text.

  Raises:
    ValueError: `eos` is no text token.
  """

  text_size: int
  codebook_size: int
  eos: int

  def __post_init__(self):
    if not 0 <= self.eos < self.text_size:
      raise ValueError(
        f'eos must be a text token in [0, {self.text_size}), got {self.eos}'
      )

  @property
  def bos(self) -> int:
    """Begins a text."""
    return self.eos

  @property
  def sot(self) -> int:
    """Begins the text after an image."""
    return self.eos

  @property
  def eot(self) -> int:
    """Ends the text after an image."""
    return self.eos

  @property
  def pad(self) -> int:
    """Pads a row to its length."""
    return self.text_size

  @property
  def soi(self) -> int:
    """Begins an image."""
    return self.text_size + 1

  @property
  def eoi(self) -> int:
    """Ends an image."""
    return self.text_size + 2

  @property
  def sov(self) -> int:
    """Begins a video."""
    return self.text_size + 3

  @property
  def eov(self) -> int:
    """Ends a video."""
    return self.text_size + 4

  @property
  def t2i(self) -> int:
    """Begins a text-to-image row."""
    return self.text_size + 5

  @property
  def mmu(self) -> int:
    """Begins an image-to-text row."""
    return self.text_size + 6

  @property
  def t2v(self) -> int:
    """Begins a text-to-video row."""
    return self.text_size + 7

  @property
  def v2v(self) -> int:
    """Begins a video-to-video row."""
    return self.text_size + 8

  @property
  def lvg(self) -> int:
    """Begins a long-video row."""
    return self.text_size + 9

  @property
  def image_offset(self) -> int:
    """Id for image code 0."""
    return self.text_size + 10

  @property
  def mask(self) -> int:
    """Replaces an image code that the model must predict."""
    return self.image_offset + self.codebook_size

  @property
  def size(self) -> int:
    """V, vocabulary size."""
    return self.mask + 1
