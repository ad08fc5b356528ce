"""The one vocabulary of text tokens, special tokens and image codes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Vocab:
  """Where each kind of token lives.

      text | pad soi eoi sov eov t2i mmu t2v v2v lvg | image codes | mask

  Attributes:
    text_size: tokens of the text tokenizer, ids [0, text_size).
    codebook_size: image codes, ids [image_offset, mask).
    eos: the text token that begins and ends every text.
  """

  text_size: int
  codebook_size: int
  eos: int

  def __post_init__(self):
    if not 0 <= self.eos < self.text_size:
      raise ValueError(
        f'eos {self.eos} is not a text token, wanted [0, {self.text_size})'
      )

  @property
  def bos(self) -> int:
    """Begins a text."""
    return self.eos

  @property
  def sot(self) -> int:
    """Begins the text behind an image."""
    return self.eos

  @property
  def eot(self) -> int:
    """Ends the text behind an image."""
    return self.eos

  @property
  def pad(self) -> int:
    """Fills a row up to its length."""
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
    """The task: image from text."""
    return self.text_size + 5

  @property
  def mmu(self) -> int:
    """The task: text from image."""
    return self.text_size + 6

  @property
  def t2v(self) -> int:
    """The task: video from text."""
    return self.text_size + 7

  @property
  def v2v(self) -> int:
    """The task: video from video."""
    return self.text_size + 8

  @property
  def lvg(self) -> int:
    """The task: long video."""
    return self.text_size + 9

  @property
  def image_offset(self) -> int:
    """The id of image code 0."""
    return self.text_size + 10

  @property
  def mask(self) -> int:
    """Stands for an image code that is to be predicted."""
    return self.image_offset + self.codebook_size

  @property
  def size(self) -> int:
    """V, the number of ids."""
    return self.mask + 1
