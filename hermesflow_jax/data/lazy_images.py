"""Images that are read when they are used, in place of an array of all."""

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects


class LazyImages:
  """N images of equal size, which the host never holds together.

  An index with several numbers, or a slice, selects images without reading
  them. `np.asarray` reads the images that are selected, the same image once.
  So `batching.map_batches` reads the images of a batch after the other.

  Args:
    readers: functions () -> uint8[H, W, 3], which return the same pixels in
      each call.
    places: places of the N images among these, int[N]; None for all in order.
  """

  ndim = 4

  def __init__(
    self,
    readers: Sequence[Callable[[], np.ndarray]],
    places: np.ndarray | None = None,
  ):
    self._all, self._places = readers, places

  @property
  def readers(self) -> Sequence[Callable[[], np.ndarray]]:
    """The functions that read the N images."""
    places = self._places
    if places is None:
      return self._all
    return disk_objects.few_as_list(
      disk_objects.Computed(len(places), lambda n: self._all[places[n]])
    )

  @property
  def shape(self) -> tuple[int, ...]:
    """(N, H, W, 3); it takes reading an image."""
    return len(self), *self.readers[0]().shape

  def __len__(self) -> int:
    return len(self._all if self._places is None else self._places)

  def __getitem__(self, index) -> 'LazyImages':
    if isinstance(index, slice):
      if self._places is None:
        return LazyImages(self._all[index])
      return LazyImages(self._all, self._places[index])
    index = np.asarray(index, int)
    if self._places is None:
      return LazyImages(
        self._all, np.where(index < 0, index + len(self), index)
      )
    return LazyImages(self._all, disk_arrays.take(self._places, index))

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    """Reads the images: uint8[N, H, W, 3]."""
    del copy  # The array is always new.
    places = range(len(self)) if self._places is None else self._places.tolist()
    # A reader may be made when it is taken, or may be in the list twice.
    readers = {place: self._all[place] for place in dict.fromkeys(places)}
    pixels = {}
    for reader in readers.values():
      if id(reader) not in pixels:
        pixels[id(reader)] = reader()
    images = np.stack([pixels[id(readers[place])] for place in places])
    return images if dtype is None else images.astype(dtype)
