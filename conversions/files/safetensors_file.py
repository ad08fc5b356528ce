"""One safetensors file: its tensors by name, and writing it piece by piece.

  u64 length | JSON {name: {dtype, shape, data_offsets}} | bytes

The header is checked here, so that each tensor can be read on its own, in
any dtype (the numpy side of the safetensors library has no bfloat16 in all
its releases), and written without a second copy of the whole model.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import json
import math
import os
import pathlib

import numpy as np

from conversions.files import tensors
from hermesflow_jax.runtime import strict_json

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


def read(path: pathlib.Path) -> dict[str, tensors.Tensor]:
  """Returns the tensors of a file.

  Raises:
    ValueError: one line that says what is wrong with the file.
  """
  header, begin, room = _header(path)
  header.pop('__metadata__', None)
  found, spans = {}, []
  for name, entry in header.items():
    try:
      dtype, shape, span = _entry(entry)
      found[name] = tensors.Tensor(
        path,
        dtype,
        begin + span[0],
        math.prod(shape),
        shape,
        tensors.contiguous(shape),
      )
      if (span[1] - span[0]) != found[name].size * dtype.itemsize:
        raise ValueError(
          f'{span[1] - span[0]!r:.40} bytes for {dtype}{list(shape)!r:.99}'
        )
    except ValueError as error:
      raise ValueError(f'{path}: {name[:200]!r}: {error}') from error
    spans.append((*span, name))
  end = 0
  for start, stop, name in sorted(spans):
    if start != end:
      raise ValueError(
        f'{path}: {name[:200]!r} begins at byte {start!r:.40}, wanted {end}'
      )
    end = stop
  if end != room:
    raise ValueError(f'{path}: {end} bytes of tensors, but {room} in the file')
  return found


def metadata(path: pathlib.Path) -> dict[str, str]:
  """Returns what a file says beside its tensors.

  Raises:
    ValueError: its header cannot be read.
  """
  header, _, _ = _header(path)
  return header.get('__metadata__', {})


def _header(path):
  """(header, first byte after it, bytes after it)."""
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
  return header, 8 + length, size - 8 - length


def _entry(entry):
  """(dtype, shape, (start, stop)) of what a header says of one tensor."""
  if not isinstance(entry, dict) or set(entry) != {
    'dtype',
    'shape',
    'data_offsets',
  }:
    raise ValueError('wanted dtype, shape and data_offsets')
  if entry['dtype'] not in DTYPES:
    raise ValueError(f'dtype {entry["dtype"]!r:.40}')
  for key in ('shape', 'data_offsets'):
    if not isinstance(entry[key], list) or any(
      type(n) is not int or n < 0 for n in entry[key]
    ):
      raise ValueError(f'{key} is {entry[key]!r:.80}')
  if len(entry['shape']) > tensors.MOST_AXES:
    raise ValueError(f'{len(entry["shape"])} axes')
  if len(entry['data_offsets']) != 2:
    raise ValueError('data_offsets wants to be [start, stop]')
  return (
    DTYPES[entry['dtype']],
    tuple(entry['shape']),
    tuple(entry['data_offsets']),
  )


def write(
  path: pathlib.Path,
  wanted: Mapping[str, tuple[tuple[int, ...], np.dtype]],
  make: Callable[[str], np.ndarray],
  said: Mapping[str, str],
  progress: Callable[[Iterable], Iterable] = iter,
) -> None:
  """Writes a file, one tensor in memory at a time.

  Args:
    path: the file, which does not exist yet.
    wanted: name -> (shape, dtype).
    make: name -> the array of that shape and dtype.
    said: what `metadata` gives back.
    progress: wraps the names.
  """
  header, end = {'__metadata__': dict(said)}, 0
  for name, (shape, dtype) in wanted.items():
    stop = end + math.prod(shape) * dtype.itemsize
    header[name] = {
      'dtype': NAMES[dtype],
      'shape': list(shape),
      'data_offsets': [end, stop],
    }
    end = stop
  text = json.dumps(header, separators=(',', ':')).encode()
  text += b' ' * (-len(text) % 8)
  with open(path, 'xb') as file:
    file.write(len(text).to_bytes(8, 'little') + text)
    for name in progress(list(wanted)):
      array = np.asarray(make(name), order='C')
      assert (array.shape, array.dtype) == wanted[name], name
      file.write(array.reshape(-1).view(np.uint8).data)
    file.flush()
    os.fsync(file.fileno())
