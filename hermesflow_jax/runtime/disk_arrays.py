"""Arrays that grow with the number of inputs: large ones lie in a file."""

from collections.abc import Sequence
import math
import os
import tempfile

import numpy as np

# Bytes of an array that memory holds; a larger one lies in a file.
MOST_BYTES = 2**28


def empty(shape: Sequence[int], dtype) -> np.ndarray:
  """Returns a new array without values.

  A large array is mapped from a file without a name in the folder for temporary
  files (TMPDIR), which goes away with the array. The system takes its pages
  from memory when it needs memory. If the disk has no space for it, memory
  holds the array.

  Args:
    shape: its shape.
    dtype: its type.
  """
  dtype = np.dtype(dtype)
  size = math.prod(shape) * dtype.itemsize
  if size <= MOST_BYTES:
    return np.empty(shape, dtype)
  try:
    with tempfile.TemporaryFile() as file:
      # A disk that is full later would kill the process.
      os.posix_fallocate(file.fileno(), 0, size)
      return np.memmap(file, dtype, 'r+', shape=tuple(shape)).view(np.ndarray)
  except (OSError, AttributeError):  # The latter on systems without it.
    return np.empty(shape, dtype)
