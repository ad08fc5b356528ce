"""Images of requests, whose codes are kept for later questions about them."""

import collections
from collections.abc import Sequence
import threading

import numpy as np

from hermesflow_jax.sampling import unified_model
from hermesflow_jax.serving import question_groups

# Images that are kept: a harness asks all questions about an image in a row.
_MOST = 256


class ServedImage:
  """An image that questions are about.

  Attributes:
    name: name of the content: equal images have equal names.
    pixels: uint8[side, side, 3]; None when its codes are known.
    codes: int32[I], image codes; None before a batch has computed them.
  """

  def __init__(self, name: str, pixels: np.ndarray):
    self.name = name
    self.pixels: np.ndarray | None = pixels
    self.codes: np.ndarray | None = None


class ImageMemory:
  """The images of the last requests, by name."""

  def __init__(self):
    self._images = collections.OrderedDict()
    self._lock = threading.Lock()

  def find(self, name: str) -> ServedImage | None:
    """Returns an image of an earlier request, or None.

    Args:
      name: name of its content.
    """
    with self._lock:
      if name in self._images:
        self._images.move_to_end(name)
      return self._images.get(name)

  def add(self, image: ServedImage) -> ServedImage:
    """Keeps an image; returns the one that is kept under its name.

    Args:
      image: image of a request.
    """
    with self._lock:
      image = self._images.setdefault(image.name, image)
      self._images.move_to_end(image.name)
      while len(self._images) > _MOST:
        self._images.popitem(last=False)
    return image


def read_images(
  unified: unified_model.UnifiedModel,
  images: Sequence[ServedImage],
  sizes: Sequence[int],
) -> np.ndarray:
  """Returns images as the model reads them.

  Args:
    unified: the model.
    images: N images; codes that are not known are computed and kept.
    sizes: sizes of batches that are compiled, increasing.

  Returns:
    int32[N, I], image codes; or uint8[N, side, side, 3] for a model that reads
    pixels.
  """
  if unified.vision is not None:
    return np.stack([image.pixels for image in images])
  unknown = list({id(i): i for i in images if i.codes is None}.values())
  if unknown:
    count = question_groups.padded_count(len(unknown), sizes)
    padded = unknown + unknown[-1:] * (count - len(unknown))
    codes = unified.encode(np.stack([image.pixels for image in padded]))
    for image, row in zip(unknown, codes, strict=False):
      image.codes, image.pixels = row, None
  return np.stack([image.codes for image in images])
