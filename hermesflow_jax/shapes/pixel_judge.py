"""A judge that reads the objects of a picture from its pixels.

Each connected region of foreground is explained by one shape, size and place:
the template t (coverage of the pixels by a shape) and the color c that leave
the least of the region's difference D from the background. With the best c,
the explained share is |t D|^2 / (|t|^2 |D|^2), so shape and color are found
together. Where the share is too low, or another look comes too close, the
judge is unsure, and an unsure answer is never right.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import itertools
from typing import Any

import numpy as np
from scipy import ndimage

from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_answers
from hermesflow_jax.shapes import shape_world

# Window around a region, in pixels; wider regions are no single object.
WINDOW = 20
MAX_EXTENT = 15
# Distances from the background in RGB space (0 to 255 a channel): a core pixel
# belongs to an object; a faint one to a halo or, in numbers, to a ghost.
CORE = 100.0
FAINT = 50.0
# Fewer core, or faint, pixels are a speck.
MIN_CORE = 4
MIN_FAINT = 8
# Pixels within this distance of a core region belong to it.
HALO = 3
# The background may differ from the world's by this much a channel.
MAX_SHIFT = 40
# A look is believed if it explains this share, and the next explains less by
# the margin.
MIN_SHARE = 0.9
MIN_MARGIN = 0.02
# A color is believed within this distance of the palette's, and if the next
# is farther by this factor.
MAX_COLOR_DISTANCE = 60.0
MIN_COLOR_RATIO = 1.5

_LOOKS = tuple((s, z) for s in shape_world.SHAPES for z in shape_world.SIZES)
_SHAPE_OF_LOOK = np.array([shape for shape, _ in _LOOKS])
_SIZE_OF_LOOK = np.array([size for _, size in _LOOKS])
_COLORS = tuple(shape_world.COLORS)
_PALETTE = np.array([shape_world.COLORS[c] for c in _COLORS], np.float32)
_GROUND = np.array(shape_world.BACKGROUND, np.float32)
# Widths of gaussians in pixels. Autoencoders soften edges, so templates come
# sharp and softened. Beyond MOST_BLUR shapes become each other, so a region
# that such a template explains best is not believed.
_BLURS = (0.0, 0.7, 1.2, 1.8, 2.5, 3.5)
MAX_BLUR = 1.5
_OFFSETS = np.arange(-1.0, 1.5, 0.5)
_ANYWHERE = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class DetectedObject:
  """One object in a picture.

  Attributes:
    shape: one of SHAPES, None if unsure.
    color: a key of COLORS, None if unsure.
    size: a key of SIZES, None if unsure.
    x: centre from the left border in pixels.
    y: centre from the upper border in pixels.
    confidence: share of the region that the look explains, 0 to 1.
    margin: by how much the next best look explains less.
  """

  shape: str | None
  color: str | None
  size: str | None
  x: float
  y: float
  confidence: float = 0.0
  margin: float = 0.0


@functools.cache
def _templates() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Returns unit templates, their norms, centres and blurs; L looks, K each.

  Templates lie with their centre of mass at the window's centre, give or take
  _OFFSETS.

  Returns:
    float32[L, K, WINDOW * WINDOW] of norm 1; float32[L, K], the norm before;
    float[L, K, 2], offset (x, y) of the shape's centre from the window's
    centre; float[L, K], the blur.
  """
  rows, centres, blurs = [], [], []
  middle = (WINDOW - 1) / 2
  for shape, size in _LOOKS:
    mass = ndimage.center_of_mass(drawing.coverage(shape, size, WINDOW))
    for dx, dy, blur in itertools.product(_OFFSETS, _OFFSETS, _BLURS):
      x, y = dx - (mass[1] - middle), dy - (mass[0] - middle)
      sharp = drawing.coverage(shape, size, WINDOW, x, y)
      soft = ndimage.gaussian_filter(sharp, blur) if blur else sharp
      rows.append(soft.ravel())
      centres.append((x, y))
      blurs.append(blur)
  rows, centres, blurs = (
    np.stack(table).reshape(len(_LOOKS), -1, *np.shape(table[0]))
    for table in (rows, centres, blurs)
  )
  norms = np.linalg.norm(rows, axis=-1)
  return rows / norms[..., None], norms, centres, blurs


def _ground(image: np.ndarray) -> np.ndarray:
  """Returns float32[3], the background color of a picture."""
  middle = np.median(image.reshape(-1, 3), axis=0).astype(np.float32)
  return middle if abs(middle - _GROUND).max() <= MAX_SHIFT else _GROUND


def _color(color: np.ndarray) -> str | None:
  """Returns the name of the nearest color, None if it is not near."""
  distances = np.linalg.norm(_PALETTE - color, axis=1)
  first, second = np.argsort(distances)[:2]
  near = distances[first] <= MAX_COLOR_DISTANCE
  clear = distances[second] >= MIN_COLOR_RATIO * distances[first]
  return _COLORS[first] if near and clear else None


def _explain(window: np.ndarray, ground: np.ndarray) -> DetectedObject:
  """Returns what a window shows, its centre relative to the window's corner.

  Args:
    window: float32[WINDOW, WINDOW, 3], a region's difference from background.
    ground: float32[3], the background color.
  """
  window = window.reshape(-1, 3)
  templates, norms, centres, blurs = _templates()
  # One product a look is small enough that BLAS stays on this thread; threads
  # that wait for busy cores cost twenty times the work.
  fitted = np.matmul(templates, window)
  shares = (fitted**2).sum(-1) / (window**2).sum()
  best = np.unravel_index(shares.argmax(), shares.shape)
  share, of_look = float(shares[best]), shares.max(1)
  shape, size = _LOOKS[best[0]]
  shape_margin = share - float(of_look[_SHAPE_OF_LOOK != shape].max())
  size_margin = share - float(of_look[_SIZE_OF_LOOK != size].max())
  known = share >= MIN_SHARE and bool(blurs[best] <= MAX_BLUR)
  return DetectedObject(
    shape=shape if known and shape_margin >= MIN_MARGIN else None,
    color=_color(ground + fitted[best] / norms[best]) if known else None,
    size=size if known and size_margin >= MIN_MARGIN else None,
    x=float(centres[best][0]) + WINDOW / 2,
    y=float(centres[best][1]) + WINDOW / 2,
    confidence=share,
    margin=min(shape_margin, size_margin),
  )


def _read_region(
  difference: np.ndarray, labels: np.ndarray, label: int, box, ground
) -> DetectedObject:
  """Reads one core region.

  Args:
    difference: float32[H, W, 3], the padded picture less its background.
    labels: int[H, W], the core regions from 1, 0 elsewhere.
    label: of the region.
    box: its rows and columns, as slices.
    ground: float32[3], the background color.

  Returns:
    The object, its place in the padded picture.
  """
  around = tuple(slice(s.start - HALO, s.stop + HALO) for s in box)
  regions = labels[around]
  mine, others = regions == label, (regions != label) & (regions != 0)
  own = ndimage.maximum_filter(mine, 2 * HALO + 1)
  own &= mine | ~ndimage.maximum_filter(others, 3)
  shown = difference[around] * own[..., None]
  y, x = ndimage.center_of_mass((shown**2).sum(-1) ** 0.5)
  y, x = y + around[0].start, x + around[1].start
  if any(s.stop - s.start > MAX_EXTENT for s in box):
    return DetectedObject(None, None, None, x + 0.5, y + 0.5)

  corner = [round(place - (WINDOW - 1) / 2) for place in (y, x)]
  window = np.zeros((WINDOW, WINDOW, 3), np.float32)
  into = [slice(s.start - c, s.stop - c) for s, c in zip(around, corner)]
  cut = [slice(max(0, -s.start), s.stop - s.start) for s in into]
  into = tuple(slice(max(0, s.start), s.stop) for s in into)
  target = window[into]
  target[:] = shown[tuple(cut)][: target.shape[0], : target.shape[1]]
  found = _explain(window, ground)
  return dataclasses.replace(
    found, x=found.x + corner[1], y=found.y + corner[0]
  )


def read_image(image: np.ndarray) -> list[DetectedObject]:
  """Returns the objects of a picture, from top to bottom.

  Args:
    image: uint8[H, W, 3].

  Raises:
    ValueError: the image has another type or shape.
  """
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
    raise ValueError(
      f'image is {image.dtype}{list(image.shape)}, wanted uint8[H, W, 3]'
    )
  ground = _ground(image)
  difference = np.pad(image - ground, ((HALO, HALO), (HALO, HALO), (0, 0)))
  distance = np.sqrt(np.einsum('hwc,hwc->hw', difference, difference))
  labels, _ = ndimage.label(distance > CORE, _ANYWHERE)
  found = []
  for label, box in enumerate(ndimage.find_objects(labels), 1):
    if np.count_nonzero(labels[box] == label) >= MIN_CORE:
      found.append(_read_region(difference, labels, label, box, ground))
    else:
      labels[box][labels[box] == label] = 0
  faint, count = ndimage.label(distance > FAINT, _ANYWHERE)
  sizes = np.bincount(faint.ravel(), minlength=count + 1)
  held = set(np.unique(faint[labels > 0]))
  for ghost in range(1, count + 1):
    if ghost not in held and sizes[ghost] >= MIN_FAINT:
      y, x = ndimage.center_of_mass(faint == ghost)
      found.append(DetectedObject(None, None, None, x + 0.5, y + 0.5))
  found = [dataclasses.replace(f, x=f.x - HALO, y=f.y - HALO) for f in found]
  return sorted(found, key=lambda f: (f.y, f.x))


def answer_questions(
  image: np.ndarray, questions: Sequence[dict[str, Any]]
) -> list[str]:
  """Returns the judge's answer to each question about a picture."""
  found = read_image(image)
  return [
    scene_answers.answer_question(q['question'], found) for q in questions
  ]


def judge_of_codes(
  decode: Callable[[np.ndarray], np.ndarray],
) -> Callable[[np.ndarray, Sequence[Sequence[dict]]], list[list[str]]]:
  """Returns the judge of images that are given as codes, a `gap.Judge`.

  Args:
    decode: codes int[N, I] -> images uint8[N, H, W, 3].
  """

  def judge(codes, questions):
    return [
      answer_questions(image, asked)
      for image, asked in zip(decode(codes), questions, strict=True)
    ]

  return judge


def score_image(
  image: np.ndarray, questions: Sequence[dict[str, Any]]
) -> float:
  """Returns the share of questions that a picture answers as its caption does.

  Raises:
    ValueError: there are no questions.
  """
  if not questions:
    raise ValueError('no questions to score a picture by')
  given = answer_questions(image, questions)
  right = [a == q['answer'] for a, q in zip(given, questions, strict=True)]
  return sum(right) / len(right)


def is_correct(image: np.ndarray, questions: Sequence[dict[str, Any]]) -> bool:
  """Returns whether a picture shows all that its caption says.

  The means of this over the scenes of each tag are the six scores in the manner
  of GenEval (arXiv 2310.11513).

  Raises:
    ValueError: there are no questions.
  """
  return score_image(image, questions) == 1.0
