"""Where a tensor lies in a file, read only when it is asked for."""

import dataclasses
import math
import pathlib

import jax.numpy as jnp
import numpy as np

BFLOAT16 = np.dtype(jnp.bfloat16)
MOST_AXES = 8
FLOATS = (np.dtype(np.float32), BFLOAT16, np.dtype(np.float16))


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A strided view into a run of bytes of a file.

  Attributes:
    path: the file.
    dtype: of the elements, little-endian.
    start: byte of the first element of the storage.
    count: elements of the storage.
    shape: of the tensor.
    strides: elements to step along each axis.
    offset: element of the storage where the tensor begins.

  Raises:
    ValueError: the view leaves its storage, or has more elements than it, or
      more than 8 axes.
  """

  path: pathlib.Path
  dtype: np.dtype
  start: int
  count: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]
  offset: int = 0

  def __post_init__(self):
    numbers = (self.start, self.count, self.offset, *self.shape, *self.strides)
    if any(type(n) is not int or n < 0 for n in numbers):
      raise ValueError('sizes, strides and offsets want to be whole numbers')
    if not len(self.shape) == len(self.strides) <= MOST_AXES:
      raise ValueError(
        f'{len(self.shape)} sizes and {len(self.strides)} strides'
      )
    # Python's numbers do not overflow, so no lie about sizes passes.
    size = math.prod(self.shape)
    last = self.offset + sum(
      (n - 1) * step for n, step in zip(self.shape, self.strides)
    )
    if size > self.count or size and last >= self.count:
      raise ValueError(
        f'shape {self.shape!r:.99} with strides {self.strides!r:.99} at '
        f'{self.offset!r:.40} does not fit its storage of {self.count!r:.40} '
        'elements'
      )

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.shape)

  def read(self) -> np.ndarray:
    """Returns a copy of the elements, C-contiguous.

    Raises:
      ValueError: the file is shorter than it was.
    """
    if not self.size:
      return np.zeros(self.shape, self.dtype)
    # Mapped for as long as it takes to copy: pages that stay mapped would
    # count as memory of the process.
    storage = np.memmap(
      self.path, self.dtype, 'r', offset=self.start, shape=(self.count,)
    )
    view = np.lib.stride_tricks.as_strided(
      storage[self.offset :],
      self.shape,
      [step * self.dtype.itemsize for step in self.strides],
    )
    return np.array(view, order='C')

  def __array__(self, dtype=None, copy=None):
    if copy is False:
      raise ValueError('reading a tensor makes a copy')
    return np.asarray(self.read(), dtype)


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the strides, in elements, of a C-contiguous tensor."""
  return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
