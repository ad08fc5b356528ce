"""Images that are read when they are used, in place of an array of all."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.runtime import disk_objects


@dataclasses.dataclass(frozen=True)
class LazyImages:
  """N images of equal size, which the host never holds together.

  An index with several numbers, or a slice, selects images without reading
  them. `np.asarray` reads the images that are selected, the same image once.
  So `batching.map_batches` reads the images of a batch after the other.

  Attributes:
    readers: N functions () -> uint8[H, W, 3], which return the same pixels in
      each call.
  """

  readers: Sequence[Callable[[], np.ndarray]]

  ndim = 4

  @property
  def shape(self) -> tuple[int, ...]:
    """(N, H, W, 3); it takes reading an image."""
    return len(self.readers), *self.readers[0]().shape

  def __len__(self) -> int:
    return len(self.readers)

  def __getitem__(self, index) -> 'LazyImages':
    if isinstance(index, slice):
      return LazyImages(self.readers[index])
    places = np.asarray(index)
    if len(places) > disk_objects.MOST:
      reader_at = lambda n: self.readers[places[n]]
      return LazyImages(disk_objects.Computed(len(places), reader_at))
    # A reader that is made when it is taken is made once.
    readers = {place: self.readers[place] for place in set(places.tolist())}
    return LazyImages([readers[place] for place in places.tolist()])

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    """Reads the images: uint8[N, H, W, 3]."""
    del copy  # The array is always new.
    pixels, readers = {}, list(self.readers)
    for reader in readers:
      if id(reader) not in pixels:
        pixels[id(reader)] = reader()
    images = np.stack([pixels[id(reader)] for reader in readers])
    return images if dtype is None else images.astype(dtype)
