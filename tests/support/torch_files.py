"""Writes `pytorch_model.bin` files by hand, and says how all files are read."""

import struct
import zipfile

import numpy as np
import pytest

from conversions.files import source
from conversions.files import tensors

STORAGES = {
  np.dtype(np.float32): 'FloatStorage',
  tensors.BFLOAT16: 'BFloat16Storage',
  np.dtype(np.float16): 'HalfStorage',
  np.dtype(np.int64): 'LongStorage',
}
# One array of each kind that is read.
RNG = np.random.default_rng(0)
ARRAYS = {
  'a.weight': RNG.normal(size=(3, 4)).astype(np.float32),
  'a.bias': RNG.normal(size=4).astype(tensors.BFLOAT16),
  'b': RNG.integers(0, 9, (2, 1, 5)),
  'c': np.zeros((), np.float16),
}


def text(value: str) -> bytes:
  """Returns the opcodes of a string."""
  data = value.encode()
  return b'X' + struct.pack('<I', len(data)) + data


def numbers(*values: int) -> bytes:
  """Returns the opcodes of a tuple of integers."""
  item = b''.join(
    b'\x8a' + bytes([9]) + v.to_bytes(9, 'little', signed=True) for v in values
  )
  return b'(' + item + b't'


def tensor(
  key: str,
  count: int,
  shape,
  strides,
  offset: int = 0,
  storage: str = 'FloatStorage',
) -> bytes:
  """Returns the opcodes of one tensor."""
  single = lambda value: numbers(value)[1:-1]
  return (
    b'ctorch._utils\n_rebuild_tensor_v2\n(('
    + text('storage')
    + f'ctorch\n{storage}\n'.encode()
    + text(key)
    + text('cpu')
    + single(count)
    + b'tQ'
    + single(offset)
    + numbers(*shape)
    + numbers(*strides)
    + b'\x89ccollections\nOrderedDict\n)RtR'
  )


def state_dict(entries: dict[str, bytes]) -> bytes:
  """Returns a whole pickle of {name: opcodes}."""
  items = b''.join(text(n) + code + b's' for n, code in entries.items())
  return b'\x80\x02}' + items + b'.'


def archive(path, pickled: bytes, members: dict[str, bytes], **options):
  """Writes a zip archive; options are zipfile.ZipFile's."""
  with zipfile.ZipFile(path, 'w', **options) as file:
    file.writestr('archive/data.pkl', pickled)
    for name, data in members.items():
      file.writestr(f'archive/{name}', data)
  return path


def save(path, arrays: dict[str, np.ndarray]):
  """Writes arrays as PyTorch would, one storage each."""
  # PyTorch reads no archive without its version.
  entries, members = {}, {'byteorder': b'little', 'version': b'3\n'}
  for i, (name, array) in enumerate(arrays.items()):
    entries[name] = tensor(
      str(i),
      array.size,
      array.shape,
      np.empty(array.shape, np.uint8).strides,
      storage=STORAGES[array.dtype],
    )
    members[f'data/{i}'] = array.tobytes()
  return archive(path, state_dict(entries), members)


def assert_same(actual, expected):
  """Asserts that tensors are arrays bit for bit."""
  assert actual.keys() == expected.keys()
  for name, tensor in actual.items():
    array = tensor.read()
    assert (array.dtype, array.shape) == (
      expected[name].dtype,
      expected[name].shape,
    )
    assert array.tobytes() == expected[name].tobytes()


def refused(path, output):
  """Asserts that reading fails with one line that says something."""
  with pytest.raises(ValueError, match=output) as caught:
    for tensor in source.find(str(path)).tensors.values():
      tensor.read()
  assert '\n' not in str(caught.value)
  assert len(str(caught.value)) < 1_000
