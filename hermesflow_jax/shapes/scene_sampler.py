"""Samples scenes with colored shapes and captions.

A scene holds 1 to 4 objects on a grid with 4 x 4 cells, 16 pixels wide. A
grammar with GenEval's six tags (arXiv 2310.11513) generates its caption;
attributes that the caption does not mention are random. (split, seed, index)
determines a scene, so a dataset is a range of indices and needs no file.
"""

import hashlib

import numpy as np

from hermesflow_jax.shapes import shape_world

# Least RGB distances of an arbitrary color from the background, and from the
# named color of a held-out combination.
MIN_CONTRAST = 110.0
MIN_FAR = 25.0
# Combinations (color, shape) that no scene of 'train' or 'preference' shows.
HELD_OUT = frozenset(
  {
    ('purple', 'ring'),
    ('cyan', 'square'),
    ('orange', 'cross'),
    ('green', 'triangle'),
  }
)
HELD_OUT_SPLITS = ('eval', 'final')
# Share of scenes in HELD_OUT_SPLITS that may show held-out combinations; about
# 5% of scenes do.
HELD_OUT_SHARE = 0.25


class _Draw:
  """Random choices for a scene."""

  def __init__(self, rng: np.random.Generator, held_out: bool):
    self.rng = rng
    self.held_out = held_out

  def choose(self, options):
    """Returns a random option."""
    return options[self.rng.integers(len(options))]

  def some(self, options, count: int) -> list:
    """Returns `count` different options in random order."""
    return [options[i] for i in self.rng.permutation(len(options))[:count]]

  def chance(self, share: float) -> bool:
    """Returns True with this probability."""
    return self.rng.random() < share

  def size(self) -> str:
    """Returns a random size."""
    return self.choose(tuple(shape_world.SIZES))

  def color(self, shape: str, but: tuple[str, ...] = ()) -> str:
    """Returns a color that the split allows for a shape."""
    return self.choose(
      [
        color
        for color in shape_world.COLORS
        if color not in but
        and (self.held_out or (color, shape) not in HELD_OUT)
      ]
    )

  def look(self, shape: str) -> tuple[str, str, str]:
    """Returns (shape, color, size) for a shape."""
    return shape, self.color(shape), self.size()

  def wild_look(self, shape: str) -> tuple[str, str, str]:
    """Returns a look with an arbitrary visible color that is not held out."""
    held_out = [shape_world.COLORS[c] for c, s in HELD_OUT if s == shape]
    while True:
      color = self.rng.integers(0, 256, 3)
      if np.linalg.norm(color - shape_world.BACKGROUND) < MIN_CONTRAST:
        continue
      if all(np.linalg.norm(color - c) >= MIN_FAR for c in held_out):
        return shape, '#' + bytes(color.tolist()).hex(), self.size()

  def cells(self, count: int) -> list[tuple[int, int]]:
    """Returns `count` different (row, col)."""
    return [
      divmod(int(i), shape_world.GRID)
      for i in self.some(range(shape_world.GRID**2), count)
    ]


# Makers return (caption, looks of its objects, cells of its objects).


def _single_object(draw: _Draw):
  shape, color, size = draw.look(draw.choose(shape_world.SHAPES))
  words = f'{size} {shape}' if draw.chance(0.5) else shape
  return shape_world.article(words), [(shape, color, size)], draw.cells(1)


def _two_object(draw: _Draw):
  a, b = draw.some(shape_world.SHAPES, 2)
  caption = f'{shape_world.article(a)} and {shape_world.article(b)}'
  return caption, [draw.look(a), draw.look(b)], draw.cells(2)


def _counting(draw: _Draw):
  if draw.chance(1 / 3):
    a, b = draw.some(shape_world.SHAPES, 2)
    count = draw.choose((2, 3))
    caption = (
      f'{shape_world.NUMBERS[count]} {shape_world.plural(a)} and one {b}'
    )
    looks = [draw.look(shape) for shape in [a] * count + [b]]
    return caption, looks, draw.cells(count + 1)
  count = draw.choose((2, 3, 4))
  shape = draw.choose(shape_world.SHAPES)
  if draw.chance(0.5):
    color = draw.color(shape)
    caption = (
      f'{shape_world.NUMBERS[count]} {color} {shape_world.plural(shape)}'
    )
    looks = [(shape, color, draw.size()) for _ in range(count)]
  else:
    caption = f'{shape_world.NUMBERS[count]} {shape_world.plural(shape)}'
    looks = [draw.look(shape) for _ in range(count)]
  return caption, looks, draw.cells(count)


def _colors(draw: _Draw):
  shape, color, size = draw.look(draw.choose(shape_world.SHAPES))
  words = f'{color} {shape}'
  if draw.chance(0.5):
    words = f'{size} {words}'
  return shape_world.article(words), [(shape, color, size)], draw.cells(1)


def _position(draw: _Draw):
  a, b = draw.some(shape_world.SHAPES, 2)
  relation = draw.choose(shape_world.RELATIONS)
  cells = draw.cells(2)
  while relation_of(*cells) != relation:
    cells = draw.cells(2)
  caption = f'{shape_world.article(a)} {relation} {shape_world.article(b)}'
  return caption, [draw.look(a), draw.look(b)], cells


def _color_attr(draw: _Draw):
  shapes = draw.some(shape_world.SHAPES, 3 if draw.chance(1 / 3) else 2)
  colors = []
  for shape in shapes:
    colors.append(draw.color(shape, but=tuple(colors)))
  words = [
    shape_world.article(f'{c} {s}') for c, s in zip(colors, shapes, strict=True)
  ]
  caption = ' , '.join(words[:-1]) + ' and ' + words[-1]
  looks = [(s, c, draw.size()) for c, s in zip(colors, shapes, strict=True)]
  return caption, looks, draw.cells(len(shapes))


_MAKERS = {
  'single_object': _single_object,
  'two_object': _two_object,
  'counting': _counting,
  'colors': _colors,
  'position': _position,
  'color_attr': _color_attr,
}


def relation_of(first: tuple[int, int], second: tuple[int, int]) -> str | None:
  """Returns the relation of two cells (row, col); None on the diagonal."""
  down, right = first[0] - second[0], first[1] - second[1]
  if abs(right) > abs(down):
    return 'right of' if right > 0 else 'left of'
  if abs(down) > abs(right):
    return 'below' if down > 0 else 'above'
  return None


def scene_bucket(objects: tuple[shape_world.Obj, ...]) -> int:
  """Returns a picture's bucket, 0 to 99; buckets belong to splits.

  The bucket does not depend on caption, order and offsets. So two splits never
  share a picture, not even with another caption or moved by a pixel.
  """
  looks = sorted(f'{o.row}{o.col}{o.shape},{o.color},{o.size}' for o in objects)
  digest = hashlib.sha256('|'.join(looks).encode()).digest()
  return int.from_bytes(digest[:8], 'big') % 100


def _start(
  split: str, seed: int, index: int, jitter: int, *kind: int
) -> tuple[np.random.Generator, _Draw]:
  """Checks the arguments; returns (generator, choices) for a scene."""
  if split not in shape_world.SPLITS:
    raise ValueError(
      f'split must be one of {tuple(shape_world.SPLITS)}, got {split!r}'
    )
  if seed < 0 or index < 0:
    raise ValueError(
      f'seed and index must be at least 0, got {seed} and {index}'
    )
  if not 0 <= jitter <= shape_world.MAX_JITTER:
    raise ValueError(
      f'jitter must be 0 to {shape_world.MAX_JITTER}, got {jitter}'
    )
  rng = np.random.default_rng(
    [seed, tuple(shape_world.SPLITS).index(split), index, *kind]
  )
  held_out = split in HELD_OUT_SPLITS and rng.random() < HELD_OUT_SHARE
  return rng, _Draw(rng, held_out)


def _placed(rng, looks, cells, jitter: int) -> tuple[shape_world.Obj, ...]:
  """Returns objects with looks in cells, moved by random offsets."""
  moves = rng.integers(-jitter, jitter + 1, (len(looks), 2)).tolist()
  return tuple(
    shape_world.Obj(*look, *cell, *move)
    for look, cell, move in zip(looks, cells, moves, strict=True)
  )


def sample_scene(
  split: str, seed: int, index: int, jitter: int = 0
) -> shape_world.Scene:
  """Returns a scene that the arguments determine.

  The tag is TAGS[index % 6], so tags have equal shares in any range of
  indices. Candidates are sampled until a scene's bucket is in the split.

  Args:
    split: key in SPLITS.
    seed: dataset seed, >= 0.
    index: scene index, >= 0.
    jitter: largest offset from the cell's center, 0 to MAX_JITTER pixels. Up to
      1, neighbors never touch.

  Raises:
    ValueError: an argument is out of range.
  """
  rng, draw = _start(split, seed, index, jitter)
  tag = shape_world.TAGS[index % len(shape_world.TAGS)]
  low, high = shape_world.SPLITS[split]
  while True:
    caption, looks, cells = _MAKERS[tag](draw)
    objects = _placed(rng, looks, cells, jitter)
    if low <= scene_bucket(objects) < high:
      return shape_world.Scene(tag, caption, objects)


def crowded_scene(
  split: str, seed: int, index: int, jitter: int = 0
) -> shape_world.Scene:
  """Returns a scene with 5 to 16 objects and no caption, for tokenizers.

  In 40% of scenes colors are arbitrary, so that a tokenizer learns color and
  shape independently. No color is near a held-out combination's color.

  Args:
    split: key in SPLITS.
    seed: dataset seed, >= 0.
    index: scene index, >= 0.
    jitter: see `sample_scene`.

  Raises:
    ValueError: an argument is out of range.
  """
  rng, draw = _start(split, seed, index, jitter, 1)
  low, high = shape_world.SPLITS[split]
  look = draw.wild_look if index % 5 < 2 else draw.look
  while True:
    count = draw.choose(range(5, shape_world.GRID**2 + 1))
    looks = [look(draw.choose(shape_world.SHAPES)) for _ in range(count)]
    objects = _placed(rng, looks, draw.cells(count), jitter)
    if low <= scene_bucket(objects) < high:
      return shape_world.Scene('crowded', '', objects)


def scene_id(split: str, seed: int, index: int) -> str:
  """Returns a scene id, e.g. 'eval-0-000123'."""
  return f'{split}-{seed}-{index:06d}'
