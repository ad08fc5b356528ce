"""Compressed npz files that are written and read some rows at a time."""

from collections.abc import Sequence
import math
import pathlib
import shutil
import tempfile
import zipfile
import zlib

import numpy as np

from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import file_streams
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage

# Exceptions of numpy where a file is cut, or a byte of it is another.
DAMAGE = (
  EOFError,
  KeyError,
  NotImplementedError,
  ValueError,
  zipfile.BadZipFile,
  zlib.error,
)
# Bytes of rows that memory holds together.
_BYTES = 2**18


def write(target: pathlib.PurePath, **arrays: np.ndarray | Sequence) -> None:
  """Writes arrays in the first process, with the bytes of numpy's own function.

  The file appears only when it is complete.

  Args:
    target: file path.
    **arrays: numpy arrays by name; or objects with `shape` and `dtype` whose
      slices are arrays of rows, e.g. `shard_codes.ShardCodes`.

  Raises:
    OSError: the file cannot be written.
  """
  if not processes.is_first():
    return
  local = storage.is_local(target)
  with (
    file_streams.replacing(target) as file,
    # An archive needs a file with random access.
    tempfile.TemporaryFile(dir=target.parent if local else None) as buffer,
  ):
    _write_archive(buffer, arrays)
    buffer.seek(0)
    shutil.copyfileobj(buffer, file)


def _write_archive(file, arrays):
  """Writes what `np.savez_compressed` writes."""
  with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
    for name, array in arrays.items():
      with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
        _write_array(member, array)


def _write_array(member, array):
  """Writes the content of an npy file."""
  if isinstance(array, np.ndarray):
    np.lib.format.write_array(member, array, allow_pickle=False)
    return
  header = {
    'descr': np.lib.format.dtype_to_descr(array.dtype),
    'fortran_order': False,
    'shape': tuple(array.shape),
  }
  np.lib.format.write_array_header_1_0(member, header)
  row = max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize)
  size = max(1, _BYTES // row)
  for begin in range(0, len(array), size):
    member.write(np.ascontiguousarray(array[begin : begin + size]).tobytes())


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
  """Reads an array; a large one lies in a file, see `disk_arrays`.

  Args:
    archive: an npz file.
    name: name of the array.

  Raises:
    KeyError: the archive has no such array.
    ValueError: the array is damaged; also EOFError and zipfile.BadZipFile.
  """
  with archive.open(f'{name}.npy') as member:
    read_header = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }.get(np.lib.format.read_magic(member))
    if read_header is None:
      raise ValueError(f'{name} must be an array of npy version 1 or 2')
    shape, columns_first, dtype = read_header(member)
    if dtype.hasobject:
      raise ValueError(f'{name} must be an array of numbers')
    # A damaged shape would take all memory.
    size = math.prod(shape) * dtype.itemsize
    if size > archive.getinfo(f'{name}.npy').file_size:
      raise EOFError(f'{name} ends too early')
    array = disk_arrays.empty(shape[::-1] if columns_first else shape, dtype)
    if array.size:
      content = memoryview(array.reshape(-1).view(np.uint8))
      while content:
        count = member.readinto(content[:_BYTES])
        if not count:
          raise EOFError(f'{name} ends too early')
        content = content[count:]
    # The checksum is compared behind the end.
    if member.read(1):
      raise ValueError(f'{name} has bytes behind its end')
  return array.T if columns_first else array
