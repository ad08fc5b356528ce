"""Reads safetensors files lazily and writes them tensor by tensor.

  u64 length | JSON {name: {dtype, shape, data_offsets}} | bytes

`safetensors.safe_open` checks lengths, offsets, shapes and dtypes and reads the
tensors. Two promises need our own code:

* Names are unique. The package accepts a repeated name without an error
  (measured with 0.5.0 to 0.8.0), so `_read_header` parses the header too.
* Files are written tensor by tensor. The package's writer takes all arrays at
  once.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import json
import math
import os
import pathlib

import numpy as np
import safetensors

from conversions.files import tensors
from hermesflow_jax.runtime import strict_json

# The numpy side of the package reads BF16 because `tensors` imports ml_dtypes.
# It reads no float8 or float4: numpy has no attribute of such a name.
DTYPES = {
  'F64': np.dtype(np.float64),
  'F32': np.dtype(np.float32),
  'F16': np.dtype(np.float16),
  'BF16': tensors.BFLOAT16,
  'I64': np.dtype(np.int64),
  'I32': np.dtype(np.int32),
  'I16': np.dtype(np.int16),
  'I8': np.dtype(np.int8),
  'U64': np.dtype(np.uint64),
  'U32': np.dtype(np.uint32),
  'U16': np.dtype(np.uint16),
  'U8': np.dtype(np.uint8),
  'BOOL': np.dtype(np.bool_),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
FIELDS = frozenset(['dtype', 'shape', 'data_offsets'])


@dataclasses.dataclass(frozen=True)
class SafetensorsTensor(tensors.Tensor):
  """A tensor in a safetensors file.

  Attributes:
    file: open file, which all of its tensors share.
    path: path of the file.
    name: name in the file.
    dtype: element type.
    shape: tensor shape.
  """

  file: safetensors.safe_open
  path: pathlib.Path
  name: str
  dtype: np.dtype
  shape: tuple[int, ...]

  def read(self) -> np.ndarray:
    """Returns the elements as a C-contiguous array.

    Raises:
      ValueError: the file has changed since `read` and cannot be read.
    """
    with _package_errors(self.path):
      return self.file.get_tensor(self.name)


def read(path: pathlib.Path) -> dict[str, tensors.Tensor]:
  """Reads the header of a file; tensors are read on demand.

  Args:
    path: safetensors file.

  Returns:
    Tensors by name.

  Raises:
    ValueError: the file is damaged, repeats a name, or holds an unsupported
      dtype. The one-line message names the file.
  """
  entries, data_size = _read_header(path)
  _check_complete(path, entries, data_size)
  file = _open(path)
  return {
    name: SafetensorsTensor(
      file, path, name, *_dtype_and_shape(path, name, entry)
    )
    for name, entry in entries.items()
  }


def add_shared(
  path: pathlib.Path,
  state_dict: dict[str, tensors.Tensor],
  say: Callable[[str], None],
) -> None:
  """Adds the tensors that a file holds under another name.

  `safetensors.torch.save_model`, which accelerate calls, writes a shared tensor
  once and says in the metadata under which name: {left out: name}.

  Args:
    path: safetensors file.
    state_dict: its tensors by name; tensors are added.
    say: receives a line for each of them.
  """
  for name, same in metadata(path).items():
    if name not in state_dict and same in state_dict:
      state_dict[name] = state_dict[same]
      say(f'{name:.200} is {same:.200}, as {path} says')


def metadata(path: pathlib.Path) -> dict[str, str]:
  """Returns the text fields in a file's `__metadata__`.

  Raises:
    ValueError: the header cannot be read.
  """
  return _open(path).metadata() or {}


def _open(path: pathlib.Path) -> safetensors.safe_open:
  """Opens a file; the package checks lengths, offsets, shapes and dtypes."""
  # By default the package maps files, and every page that was read stays in
  # memory (40 tensors of 8 MB: 305 MB against 0 MB with pread).
  with _package_errors(path):
    return safetensors.safe_open(path, framework='numpy', backend='pread')


@contextlib.contextmanager
def _package_errors(path: pathlib.Path) -> Iterator[None]:
  """Turns errors of the package into one-line ValueErrors with the path."""
  try:
    yield
  # Its OSError carries no file name.
  except (safetensors.SafetensorError, OSError) as error:
    reason = ' '.join(str(error).split())[:300]
    raise ValueError(f'{path}: {reason}') from error


def _check_complete(path, entries, data_size) -> None:
  """Raises ValueError if a file ends before its tensors do."""
  stops = [
    entry['data_offsets'][-1]
    for entry in entries.values()
    if isinstance(entry, dict) and isinstance(entry.get('data_offsets'), list)
    if entry['data_offsets'] and type(entry['data_offsets'][-1]) is int
  ]
  if (expected := max(stops, default=0)) > data_size:
    raise ValueError(
      f'{path}: its tensors must have '
      f'{expected!s:.40} bytes, got {data_size}: the file is incomplete, '
      'copy or download it again'
    )


def _read_header(path: pathlib.Path) -> tuple[dict, int]:
  """Returns (entries by name, without `__metadata__`; bytes after them)."""
  size = path.stat().st_size
  with open(path, 'rb') as file:
    length = int.from_bytes(file.read(8), 'little')
    if size < 8 or length > size - 8:
      raise ValueError(
        f'{path}: a header of {length} bytes does not fit {size} bytes'
      )
    if length > strict_json.MOST_BYTES:
      raise ValueError(f'{path}: a header of {length} bytes is too long')
    header = strict_json.loads(file.read(length), f'header of {path}')
  header.pop('__metadata__', None)
  return header, size - 8 - length


def _dtype_and_shape(path, name, entry) -> tuple[np.dtype, tuple[int, ...]]:
  """Returns (dtype, shape) from an entry that the package has accepted."""
  if set(entry) != FIELDS:
    fault = f'fields must be dtype, shape, data_offsets, got {sorted(entry)}'
  elif entry['dtype'] not in DTYPES:
    fault = f'dtype must be one of {", ".join(DTYPES)}, got {entry["dtype"]!r}'
  elif len(entry['shape']) > tensors.MAX_AXES:
    fault = f'{len(entry["shape"])} axes, at most {tensors.MAX_AXES} are read'
  else:
    return DTYPES[entry['dtype']], tuple(entry['shape'])
  raise ValueError(f'{path}: {name[:200]!r}: {fault[:300]}')


def size_of(specs: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> int:
  """Returns the bytes of tensors in a file.

  Args:
    specs: name -> (shape, dtype).
  """
  return sum(math.prod(shape) * d.itemsize for shape, d in specs.values())


def write(
  path: pathlib.Path,
  specs: Mapping[str, tuple[tuple[int, ...], np.dtype]],
  make: Callable[[str], np.ndarray],
  file_metadata: Mapping[str, str],
  progress: Callable[[Iterable], Iterable] = iter,
) -> None:
  """Writes a file with a single tensor in memory at a time.

  Args:
    path: new file; it must not exist.
    specs: name -> (shape, dtype).
    make: name -> array with the shape and dtype in `specs`.
    file_metadata: text fields that `metadata` returns.
    progress: wraps the iteration over names, e.g. to draw a bar.
  """
  header, start = {'__metadata__': dict(file_metadata)}, 0
  for name, (shape, dtype) in specs.items():
    stop = start + math.prod(shape) * dtype.itemsize
    header[name] = {
      'dtype': NAMES[dtype],
      'shape': list(shape),
      'data_offsets': [start, stop],
    }
    start = stop
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  with open(path, 'xb') as file:
    file.write(len(text).to_bytes(8, 'little') + text)
    for name in progress(list(specs)):
      array = np.asarray(make(name), order='C')
      assert (array.shape, array.dtype) == specs[name], name
      file.write(array.reshape(-1).view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())
