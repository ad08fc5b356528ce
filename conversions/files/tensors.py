"""Tensors in checkpoint files, read from disk on demand."""

import abc
import dataclasses
import math
import pathlib

import jax.numpy as jnp
import numpy as np

BFLOAT16 = np.dtype(jnp.bfloat16)
# Tensors with more axes are refused.
MAX_AXES = 8
# Dtypes that model weights may have.
FLOATS = (np.dtype(np.float32), BFLOAT16, np.dtype(np.float16))


class Tensor(abc.ABC):
  """A tensor that is read when `read` or `np.asarray` is called.

  Attributes:
    shape: tensor shape.
    dtype: element type.
  """

  shape: tuple[int, ...]
  dtype: np.dtype

  @abc.abstractmethod
  def read(self) -> np.ndarray:
    """Returns the elements as a C-contiguous array.

    Raises:
      ValueError: the file has changed and cannot be read.
    """

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.shape)

  def __array__(self, dtype=None, copy=None):
    if copy is False:
      raise ValueError('reading a tensor makes a copy')
    return np.asarray(self.read(), dtype)


@dataclasses.dataclass(frozen=True)
class StridedTensor(Tensor):
  """A strided view into a file's bytes.

  Attributes:
    path: file.
    dtype: little-endian element type.
    start: byte at which the storage begins.
    count: number of elements in the storage.
    shape: tensor shape.
    strides: steps along each axis, in elements.
    offset: the tensor's first element within the storage.

  Raises:
    ValueError: the view leaves its storage, has more elements than the
      storage, or has more than MAX_AXES axes.
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
      raise ValueError('sizes, strides and offsets must be whole numbers >= 0')
    if not len(self.shape) == len(self.strides) <= MAX_AXES:
      raise ValueError(
        f'{len(self.shape)} sizes and {len(self.strides)} strides'
      )
    # Python integers do not overflow, so these checks hold for any numbers.
    last = self.offset + sum(
      (n - 1) * step for n, step in zip(self.shape, self.strides)
    )
    if self.size > self.count or (self.size and last >= self.count):
      raise ValueError(
        f'shape {self.shape!r:.99} with strides {self.strides!r:.99} at '
        f'{self.offset!r:.40} does not fit its storage of {self.count!r:.40} '
        'elements'
      )

  def read(self) -> np.ndarray:
    """Returns a C-contiguous copy.

    Raises:
      ValueError: the file has become shorter.
    """
    if not self.size:
      return np.zeros(self.shape, self.dtype)
    # Mapped only while it is copied: mapped pages count as process memory.
    storage = np.memmap(
      self.path, self.dtype, 'r', offset=self.start, shape=(self.count,)
    )
    view = np.lib.stride_tricks.as_strided(
      storage[self.offset :],
      self.shape,
      [step * self.dtype.itemsize for step in self.strides],
    )
    return np.array(view, order='C')


@dataclasses.dataclass(frozen=True)
class JoinedTensor(Tensor):
  """Elements of several vectors, one after another, in a shape.

  Attributes:
    shape: tensor shape.
    dtype: element type of all vectors.
    parts: vectors.

  Raises:
    ValueError: the vectors have other types, or their lengths do not add up to
      the number of elements.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  parts: tuple[StridedTensor, ...]

  def __post_init__(self):
    count = sum(part.size for part in self.parts)
    if count != self.size or len(self.shape) > MAX_AXES:
      raise ValueError(
        f'shape {self.shape!r:.99} needs other than {count} parts'
      )
    if any(part.dtype != self.dtype for part in self.parts):
      raise ValueError(f'all parts of a tensor must be {self.dtype}')

  def read(self) -> np.ndarray:
    """Returns a C-contiguous copy, read part by part.

    Raises:
      ValueError: a file has become shorter.
    """
    values, start = np.empty(self.size, self.dtype), 0
    for part in self.parts:
      values[start : start + part.size] = part.read()
      start += part.size
    return values.reshape(self.shape)


def section(vector: StridedTensor, start: int, count: int) -> StridedTensor:
  """Returns consecutive elements of a vector.

  Args:
    vector: tensor with a single axis.
    start: first element.
    count: number of elements.

  Raises:
    ValueError: the elements do not lie in the vector.
  """
  if not 0 <= start <= start + count <= vector.size:
    raise ValueError(f'elements {start} to {start + count} of {vector.size}')
  first = vector.offset + start * vector.strides[0]
  return dataclasses.replace(vector, shape=(count,), offset=first)
