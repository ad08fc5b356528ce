"""One `pytorch_model.bin`: its tensors by name, without PyTorch or its code.

Such a file is a zip archive: `data.pkl`, a pickle of {name: tensor}, beside
one member of raw bytes for each storage. A pickle can name any function to
call, so only the few that rebuild a tensor are known here, and they make
records of where the bytes lie. Nothing is unpacked: members must be stored,
not compressed.
"""

import collections
import io
import pathlib
import pickle
import pickletools
from typing import NamedTuple
import zipfile

import numpy as np

from conversions.files import tensors

MOST_PICKLE_BYTES = 64_000_000
MOST_MEMOS = 1_000_000

STORAGES = {
  'FloatStorage': np.dtype(np.float32),
  'HalfStorage': np.dtype(np.float16),
  'BFloat16Storage': tensors.BFLOAT16,
  'DoubleStorage': np.dtype(np.float64),
  'LongStorage': np.dtype(np.int64),
  'IntStorage': np.dtype(np.int32),
  'ShortStorage': np.dtype(np.int16),
  'CharStorage': np.dtype(np.int8),
  'ByteStorage': np.dtype(np.uint8),
  'BoolStorage': np.dtype(np.bool_),
}
# What `torch.save` writes of a state dict; nothing else is read.
OPCODES = frozenset(
  """
    PROTO STOP GLOBAL REDUCE BUILD BINPERSID MARK NONE NEWTRUE NEWFALSE
    BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS
    EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT BINGET LONG_BINGET
""".split()
)


# A pickle may set attributes of what it was given (BUILD), so it is given
# tuples and numbers, which have none, and dictionaries, whose are not read.
class _StorageType(NamedTuple):
  """Stands for torch.FloatStorage and the like."""

  dtype: np.dtype


class _Storage(NamedTuple):
  """The bytes that several tensors may share."""

  dtype: np.dtype
  start: int
  count: int


class _Number(int):
  """The place of a tensor in the list of all."""

  __slots__ = ()


class _Once(collections.OrderedDict):
  """Refuses a name that is there already."""

  def __setitem__(self, name, value):
    if name in self:
      raise ValueError(f'{name!r:.200} is there twice')
    super().__setitem__(name, value)


def read(path: pathlib.Path) -> dict[str, tensors.Tensor]:
  """Returns the tensors of a file.

  Raises:
    ValueError: one line that says what is wrong with the file.
  """
  if not zipfile.is_zipfile(path):
    raise ValueError(
      f'{path} is no zip archive: damaged, or of a PyTorch before 1.6; save '
      'it again there, best as safetensors'
    )
  try:
    with zipfile.ZipFile(path) as archive, open(path, 'rb') as file:
      members = _members(archive, file, path.stat().st_size)
      start, count = _member(members, 'data.pkl')
      if count > MOST_PICKLE_BYTES:
        raise ValueError(f'a pickle of {count} bytes is too long')
      if 'byteorder' in members:
        first, length = members['byteorder']
        if _bytes(file, first, min(length, 16)) != b'little':
          raise ValueError('its bytes are not little-endian')
      found = _unpickled(_bytes(file, start, count), members, path)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  # A pickle made by hand can fail in any way; none of them does harm.
  except Exception as error:
    raise ValueError(
      f'{path} is damaged: {type(error).__name__} {str(error)[:200]!r}'
    ) from error
  return found


def _bytes(file, start, count):
  file.seek(start)
  return file.read(count)


def _members(archive, file, size):
  """{name below the archive's one folder: (first byte, bytes)}."""
  found, top = {}, None
  for info in archive.infolist():
    folder, _, name = info.filename.partition('/')
    top = top or folder
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
      raise ValueError(f'member {info.filename[:200]!r} is compressed')
    if info.file_size != info.compress_size:
      raise ValueError(f'member {info.filename[:200]!r} has two sizes')
    if not name or folder != top or name in found:
      raise ValueError(f'unexpected member {info.filename[:200]!r}')
    local = _bytes(file, info.header_offset, 30)
    if len(local) < 30 or local[:4] != b'PK\x03\x04':
      raise ValueError(f'member {info.filename[:200]!r} is not where it says')
    # Lengths of the name and of the padding after it, which stand only here.
    start = (
      info.header_offset
      + 30
      + sum(int.from_bytes(local[i : i + 2], 'little') for i in (26, 28))
    )
    if start + info.file_size > size:
      raise ValueError(f'member {info.filename[:200]!r} leaves the file')
    found[name] = (start, info.file_size)
  return found


def _member(members, name):
  if name not in members:
    raise ValueError(f'member {name[:200]!r} is missing')
  return members[name]


def _unpickled(data, members, path):
  """{name: Tensor} of the pickle."""
  for opcode, argument, _ in pickletools.genops(data):
    if opcode.name not in OPCODES:
      raise ValueError(f'its pickle has {opcode.name}, which no tensor needs')
    # The unpickler makes room for as many memos as the highest number says.
    if opcode.name.endswith('BINPUT') and argument > MOST_MEMOS:
      raise ValueError(f'its pickle wants memo {argument}')
  unpickler = _Unpickler(data, members, path)
  found = unpickler.load()
  if not isinstance(found, dict):
    raise ValueError(f'it holds a {type(found).__name__}, wanted tensors')
  named = {}
  for name, number in dict.items(found):
    if not isinstance(name, str) or not isinstance(number, _Number):
      raise ValueError(
        f'{name!r:.200} is a {type(number).__name__}, wanted a tensor'
      )
    named[name] = unpickler.made[number]
  return named


class _Unpickler(pickle.Unpickler):
  """Knows three functions and the storages; everything else is refused.

  Attributes:
    made: the tensors, in the order of their making.
  """

  def __init__(self, data, members, path):
    super().__init__(io.BytesIO(data))
    self._members, self._path = members, path
    self.made = []

  def find_class(self, module, name):
    """Returns what stands for a global of PyTorch."""
    if (module, name) == ('collections', 'OrderedDict'):
      return _Once
    if module == 'torch' and name in STORAGES:
      return _StorageType(STORAGES[name])
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return self._tensor
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return self._parameter
    raise ValueError(f'its pickle calls {f"{module}.{name}"!r:.200}')

  def persistent_load(self, pid):
    """Returns the storage that an id stands for."""
    kind, storage, key, _, count = pid
    if kind != 'storage' or not isinstance(storage, _StorageType):
      raise ValueError(f'its pickle refers to a {kind!r:.40}')
    start, size = _member(self._members, f'data/{key}')
    if type(count) is not int or count * storage.dtype.itemsize != size:
      raise ValueError(
        f'storage {key!r:.40} has {size} bytes, wanted {count!r:.40} '
        f'elements of {storage.dtype}'
      )
    return _Storage(storage.dtype, start, count)

  def _tensor(self, storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage):
      raise ValueError('a tensor without storage')
    self.made.append(
      tensors.StridedTensor(
        self._path, *storage, tuple(shape), tuple(strides), offset
      )
    )
    return _Number(len(self.made) - 1)

  def _parameter(self, tensor, *_):
    return tensor
