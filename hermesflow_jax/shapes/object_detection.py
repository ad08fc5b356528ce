"""Detects the objects in a picture by matching templates.

Each connected region of foreground is matched with templates. A template t is
the pixel coverage for a shape, a size and a position; with a color c it
approximates the region's difference D from the background. For the best c, the
explained share is |t D|^2 / (|t|^2 |D|^2), so shape and color are estimated
jointly. If the share is too low, or the second-best look is too close, the
object has unsure attributes, None.
"""

import dataclasses
import functools
import itertools

import numpy as np

from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import shape_world

# Side of the window around a region, in pixels. Regions wider than MAX_EXTENT
# are not a single object.
WINDOW = 20
MAX_EXTENT = 15
# Least RGB distances from the background (0 to 255 in a channel). Core pixels
# belong to an object, faint pixels to a halo or to a ghost (a region without a
# core).
CORE = 100.0
FAINT = 50.0
# Smaller regions are ignored as specks, in pixels.
MIN_CORE = 4
MIN_FAINT = 8
# Width of the halo around a core region, in pixels.
HALO = 3
# Largest difference of a channel from the world's background color.
MAX_SHIFT = 40
# A look (shape and size) is accepted if it explains at least MIN_SHARE, and the
# second-best look explains less by MIN_MARGIN.
MIN_SHARE = 0.9
MIN_MARGIN = 0.02
# A color is accepted within this RGB distance of the palette color, if the
# distance of the second-nearest color is larger by MIN_COLOR_RATIO.
MAX_COLOR_DISTANCE = 60.0
MIN_COLOR_RATIO = 1.5

_LOOKS = tuple((s, z) for s in shape_world.SHAPES for z in shape_world.SIZES)
_SHAPE_OF_LOOK = np.array([shape for shape, _ in _LOOKS])
_SIZE_OF_LOOK = np.array([size for _, size in _LOOKS])
_COLORS = tuple(shape_world.COLORS)
_PALETTE = np.array([shape_world.COLORS[c] for c in _COLORS], np.float32)
_GROUND = np.array(shape_world.BACKGROUND, np.float32)
# Standard deviations of the blur of templates, in pixels. Autoencoders blur
# edges, so templates are blurred, too. Beyond MAX_BLUR shapes look alike, so a
# region that matches such a template best is not accepted.
_BLURS = (0.0, 0.7, 1.2, 1.8, 2.5, 3.5)
MAX_BLUR = 1.5
_OFFSETS = np.arange(-1.0, 1.5, 0.5)
_ANYWHERE = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class DetectedObject:
  """An object in a picture.

  Attributes:
    shape: member of SHAPES, None if unsure.
    color: key in COLORS, None if unsure.
    size: key of SIZES, None if unsure.
    x: center, in pixels from the left border.
    y: center, in pixels from the upper border.
    confidence: explained share, 0 to 1.
    margin: confidence minus the second-best look's share.
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
  """Returns K templates for each of L looks.

  A template's center of mass lies at the window's center plus _OFFSETS.

  Returns:
    Unit templates float32[L, K, WINDOW * WINDOW]; norms before normalization
    float32[L, K]; shape centers (x, y) relative to the window's center
    float[L, K, 2]; blurs float[L, K].
  """
  from scipy import ndimage

  rows, centers, blurs = [], [], []
  middle = (WINDOW - 1) / 2
  for shape, size in _LOOKS:
    mass = ndimage.center_of_mass(drawing.coverage(shape, size, WINDOW))
    for dx, dy, blur in itertools.product(_OFFSETS, _OFFSETS, _BLURS):
      x, y = dx - (mass[1] - middle), dy - (mass[0] - middle)
      sharp = drawing.coverage(shape, size, WINDOW, x, y)
      soft = ndimage.gaussian_filter(sharp, blur) if blur else sharp
      rows.append(soft.ravel())
      centers.append((x, y))
      blurs.append(blur)
  rows, centers, blurs = (
    np.stack(table).reshape(len(_LOOKS), -1, *np.shape(table[0]))
    for table in (rows, centers, blurs)
  )
  norms = np.linalg.norm(rows, axis=-1)
  return rows / norms[..., None], norms, centers, blurs


def _ground(image: np.ndarray) -> np.ndarray:
  """Estimates a picture's background color, float32[3]."""
  middle = np.median(image.reshape(-1, 3), axis=0).astype(np.float32)
  return middle if abs(middle - _GROUND).max() <= MAX_SHIFT else _GROUND


def _color(color: np.ndarray) -> str | None:
  """Returns the nearest palette color, or None if it is too far."""
  distances = np.linalg.norm(_PALETTE - color, axis=1)
  first, second = np.argsort(distances)[:2]
  near = distances[first] <= MAX_COLOR_DISTANCE
  clear = distances[second] >= MIN_COLOR_RATIO * distances[first]
  return _COLORS[first] if near and clear else None


def _explain(window: np.ndarray, ground: np.ndarray) -> DetectedObject:
  """Matches a window with all templates.

  Args:
    window: float32[WINDOW, WINDOW, 3], a region's difference from background.
    ground: float32[3], background color.

  Returns:
    The best object; x and y are relative to the window's corner.
  """
  window = window.reshape(-1, 3)
  templates, norms, centers, blurs = _templates()
  # A product per look is so small that BLAS uses no further threads. Threads
  # that wait for busy cores would take twenty times as long.
  fitted = np.matmul(templates, window)
  shares = (fitted**2).sum(-1) / (window**2).sum()
  best = np.unravel_index(shares.argmax(), shares.shape)
  share, of_look = float(shares[best]), shares.max(1)
  shape, size = _LOOKS[best[0]]
  shape_margin = share - float(of_look[shape != _SHAPE_OF_LOOK].max())
  size_margin = share - float(of_look[size != _SIZE_OF_LOOK].max())
  known = share >= MIN_SHARE and bool(blurs[best] <= MAX_BLUR)
  return DetectedObject(
    shape=shape if known and shape_margin >= MIN_MARGIN else None,
    color=_color(ground + fitted[best] / norms[best]) if known else None,
    size=size if known and size_margin >= MIN_MARGIN else None,
    x=float(centers[best][0]) + WINDOW / 2,
    y=float(centers[best][1]) + WINDOW / 2,
    confidence=share,
    margin=min(shape_margin, size_margin),
  )


def _read_region(
  difference: np.ndarray, labels: np.ndarray, label: int, box, ground
) -> DetectedObject:
  """Detects the object in a core region.

  Args:
    difference: float32[H, W, 3], padded picture minus background.
    labels: int[H, W], core region numbers from 1, 0 elsewhere.
    label: region number.
    box: the region's rows and columns, slices.
    ground: float32[3], background color.

  Returns:
    The object, with coordinates in the padded picture.
  """
  from scipy import ndimage

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
  detected = _explain(window, ground)
  return dataclasses.replace(
    detected, x=detected.x + corner[1], y=detected.y + corner[0]
  )


def read_image(image: np.ndarray) -> list[DetectedObject]:
  """Detects the objects in a picture.

  Args:
    image: uint8[H, W, 3].

  Returns:
    Objects from top to bottom.

  Raises:
    ValueError: the image has another type or shape.
  """
  from scipy import ndimage

  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
    raise ValueError(
      f'image must be uint8[H, W, 3], got {image.dtype}{list(image.shape)}'
    )
  ground = _ground(image)
  difference = np.pad(image - ground, ((HALO, HALO), (HALO, HALO), (0, 0)))
  distance = np.sqrt(np.einsum('hwc,hwc->hw', difference, difference))
  labels, _ = ndimage.label(distance > CORE, _ANYWHERE)
  objects = []
  for label, box in enumerate(ndimage.find_objects(labels), 1):
    if np.count_nonzero(labels[box] == label) >= MIN_CORE:
      objects.append(_read_region(difference, labels, label, box, ground))
    else:
      labels[box][labels[box] == label] = 0
  faint, count = ndimage.label(distance > FAINT, _ANYWHERE)
  sizes = np.bincount(faint.ravel(), minlength=count + 1)
  held = set(np.unique(faint[labels > 0]))
  for ghost in range(1, count + 1):
    if ghost not in held and sizes[ghost] >= MIN_FAINT:
      y, x = ndimage.center_of_mass(faint == ghost)
      objects.append(DetectedObject(None, None, None, x + 0.5, y + 0.5))
  objects = [
    dataclasses.replace(o, x=o.x - HALO, y=o.y - HALO) for o in objects
  ]
  return sorted(objects, key=lambda o: (o.y, o.x))
