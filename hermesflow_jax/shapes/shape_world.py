"""The embedded world's constants and records."""

import dataclasses
import typing

from hermesflow_jax.runtime import settings

# Cells along a side of the picture.
GRID = 4
# Side of a cell and of the picture, in pixels.
CELL = 16
SIZE = GRID * CELL
# RGB, 0 to 255.
BACKGROUND = (235, 235, 235)
SHAPES = ('circle', 'square', 'triangle', 'cross', 'ring')
# RGB, 0 to 255.
COLORS = {
  'red': (205, 20, 30),
  'green': (30, 140, 50),
  'blue': (30, 60, 215),
  'yellow': (250, 215, 40),
  'purple': (140, 40, 180),
  'orange': (240, 110, 0),
  'black': (25, 25, 25),
  'cyan': (30, 190, 205),
}
# Diameter in pixels. Even, so that edges meet pixel borders, and 12 leaves two
# empty pixels between large neighbors at jitter 1.
SIZES = {'small': 8, 'large': 12}
NUMBERS = ('zero', 'one', 'two', 'three', 'four')
RELATIONS = ('left of', 'right of', 'above', 'below')
# Largest offset of an object that stays in its cell, in pixels.
MAX_JITTER = (CELL - SIZES['large']) // 2
# Kinds of captions.
TAGS = (
  'single_object',
  'two_object',
  'counting',
  'colors',
  'position',
  'color_attr',
)
# Half-open range of buckets (of 100) of each split.
SPLITS = {
  'train': (0, 70),
  'preference': (70, 80),
  'eval': (80, 90),
  'final': (90, 100),
}
# Vocabulary of captions, questions and answers for a word-level tokenizer.
WORDS = tuple(
  sorted(
    {
      *SHAPES,
      *(f'{shape}s' for shape in SHAPES if shape != 'cross'),
      *('crosses', 'object', 'objects'),
      *COLORS,
      *SIZES,
      *NUMBERS,
      *('a', 'an', 'and', ',', 'left', 'right', 'of', 'above', 'below'),
      *('how', 'many', 'are', 'there', 'what', 'shape', 'color', 'size'),
      *('is', 'the', 'with', 'where', 'relative', 'to', '?', 'none'),
    }
  )
)


@dataclasses.dataclass(frozen=True)
class Obj:
  """An object: its look, its cell, and its offset in pixels."""

  shape: str
  color: str
  size: str
  row: int
  col: int
  dx: int = 0
  dy: int = 0

  @property
  def x(self) -> float:
    """Centre from the left border, in pixels."""
    return (self.col + 0.5) * CELL + self.dx

  @property
  def y(self) -> float:
    """Centre from the upper border, in pixels."""
    return (self.row + 0.5) * CELL + self.dy


@dataclasses.dataclass(frozen=True)
class Scene:
  """A tag, a caption, and objects that fit the caption.

  A crowded scene has the tag 'crowded' and an empty caption.
  """

  tag: str
  caption: str
  objects: tuple[Obj, ...]


def plural(shape: str) -> str:
  """Returns 'crosses' for 'cross', 'rings' for 'ring'."""
  return shape + ('es' if shape.endswith('s') else 's')


def article(words: str) -> str:
  """Returns 'an orange ring' for 'orange ring'."""
  return ('an ' if words[0] in 'aeiou' else 'a ') + words


@dataclasses.dataclass(frozen=True)
class World:
  """Settings for the embedded world.

  Attributes:
    seed: random seed for the scenes.
    jitter: largest offset from the cell's center, in pixels.
  """

  seed: settings.NonNegativeInt
  jitter: typing.Annotated[int, settings.between(0, MAX_JITTER)]

  def __post_init__(self):
    settings.check(self)
