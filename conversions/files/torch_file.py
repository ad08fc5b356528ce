"""Reads `pytorch_model.bin` files without PyTorch and without running code.

Such a file is a zip archive with `data.pkl`, a pickle of {name: tensor}, and a
member with raw bytes for each storage. A pickle can call any function, so this
reader calls none. The functions that rebuild tensors are replaced by functions
that note byte ranges, and settings of known training programs by empty objects;
all else is refused. Members must be stored, not compressed.
"""

import collections
from collections.abc import Callable
import io
import pathlib
import pickle
import pickletools
import re
from typing import NamedTuple
import zipfile

import numpy as np

from conversions.files import state_dicts
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
# The opcodes that `torch.save` writes for a state dict; others are refused.
OPCODES = frozenset(
  (
    *('PROTO', 'STOP', 'GLOBAL', 'REDUCE', 'BUILD', 'BINPERSID', 'MARK'),
    *('NONE', 'NEWTRUE', 'NEWFALSE', 'BININT', 'BININT1', 'BININT2', 'LONG1'),
    *('BINFLOAT', 'BINUNICODE', 'EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2'),
    *('TUPLE3', 'EMPTY_LIST', 'APPEND', 'APPENDS', 'EMPTY_DICT', 'SETITEM'),
    *('SETITEMS', 'BINPUT', 'LONG_BINPUT', 'BINGET', 'LONG_BINGET'),
    # Settings that training programs save beside the weights.
    'NEWOBJ',
  )
)
# Types of such settings. No code of theirs runs, and their values are not read.
SETTINGS = re.compile(
  r'torch\.(device|Size|(float|bfloat|u?int|complex)\d+|bool)'
  r'|argparse\.Namespace|collections\.(defaultdict|Counter)|_codecs\.encode'
  r'|pathlib\.\w*Path|(__builtin__|builtins)\.(set|frozenset|slice|range)'
  r'|numpy\.dtype|numpy\._?core\.multiarray\.(scalar|_reconstruct)'
  r'|numpy\.ndarray|datetime\.\w+'
  r'|(deepspeed|omegaconf|lightning|lightning_fabric|pytorch_lightning'
  r'|lightning_utilities|transformers|accelerate|ml_collections)\.[\w.]+'
)
WAY_ON = 'load it with PyTorch if you trust it, and save its state_dict() alone'


# A pickle may set attributes of its objects (BUILD). Tuples and numbers have no
# attributes, and those of dictionaries are not read.
class _StorageType(NamedTuple):
  """Replaces torch.FloatStorage and similar classes."""

  dtype: np.dtype


class _Storage(NamedTuple):
  """A byte range that several tensors may share."""

  dtype: np.dtype
  start: int
  count: int


class _TensorIndex(int):
  """Replaces a tensor by its index in `_Unpickler.tensors`."""

  __slots__ = ()


class _UniqueNames(collections.OrderedDict):
  """A dictionary that refuses a second value for a name."""

  def __setitem__(self, name, value):
    if name in self:
      raise ValueError(f'duplicate name {name!r:.200}')
    super().__setitem__(name, value)


class _Setting:
  """Replaces an object of a type in SETTINGS, and ignores its values."""

  def __new__(cls, *_):
    return super().__new__(cls)

  def __init__(self, *_):
    pass

  def __setstate__(self, state):
    pass

  def __setitem__(self, key, value):
    pass

  def append(self, value):
    """Ignores an element of a list-like object."""

  def extend(self, values):
    """Ignores elements of a list-like object."""


def read(
  path: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, tensors.Tensor]:
  """Reads names and byte ranges; tensors are read on demand.

  Args:
    path: zip archive written by `torch.save`.
    say: receives a line if the tensors lie within another dictionary, e.g.
      {'module': tensors}.

  Returns:
    Tensors by name.

  Raises:
    ValueError: the file is damaged or needs more than tensors. The
      one-line message names the file.
  """
  if not zipfile.is_zipfile(path):
    raise ValueError(
      f'{path} must be a zip archive; it is damaged or older than PyTorch 1.6: '
      'save it again with PyTorch, preferably as safetensors'
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
          raise ValueError('byte order must be little-endian')
      if any(name.startswith('code/') for name in members):
        raise ValueError(f'it is a TorchScript program: {WAY_ON}')
      return _unpickle(_bytes(file, start, count), members, path, say)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  # A hostile pickle can raise any exception.
  except Exception as error:
    raise ValueError(
      f'{path} is damaged: {type(error).__name__} {str(error)[:200]!r}'
    ) from error


def _bytes(file, start: int, count: int) -> bytes:
  file.seek(start)
  return file.read(count)


def _members(archive, file, size: int) -> dict[str, tuple[int, int]]:
  """Returns name without the archive's folder -> (first byte, byte count)."""
  members, top = {}, None
  for info in archive.infolist():
    folder, _, name = info.filename.partition('/')
    top = top or folder
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
      raise ValueError(f'member {info.filename[:200]!r} is compressed')
    if info.file_size != info.compress_size:
      raise ValueError(f'member {info.filename[:200]!r} has two sizes')
    if not name or folder != top or name in members:
      raise ValueError(f'unexpected member {info.filename[:200]!r}')
    local = _bytes(file, info.header_offset, 30)
    if len(local) < 30 or local[:4] != b'PK\x03\x04':
      raise ValueError(f'member {info.filename[:200]!r} has no local header')
    # Only the local header has the lengths of the name and its padding.
    start = (
      info.header_offset
      + 30
      + sum(int.from_bytes(local[i : i + 2], 'little') for i in (26, 28))
    )
    if start + info.file_size > size:
      raise ValueError(f'member {info.filename[:200]!r} leaves the file')
    members[name] = (start, info.file_size)
  return members


def _member(members, name: str) -> tuple[int, int]:
  if name not in members:
    raise ValueError(f'member {name[:200]!r} is missing')
  return members[name]


def _unpickle(data: bytes, members, path, say) -> dict[str, tensors.Tensor]:
  """Returns the tensors in a pickle by name."""
  for opcode, argument, _ in pickletools.genops(data):
    if opcode.name not in OPCODES:
      raise ValueError(
        f'its pickle has {opcode.name}, which tensors do not need: {WAY_ON}'
      )
    # The unpickler allocates memos up to the highest index.
    if opcode.name.endswith('BINPUT') and argument > MOST_MEMOS:
      raise ValueError(f'its pickle has {argument} memos, at most {MOST_MEMOS}')
  unpickler = _Unpickler(data, members, path)
  indices, keys = state_dicts.select(unpickler.load(), _TensorIndex)
  if keys:
    say(f'{path.name}: taking the tensors in {state_dicts.place(keys)}')
  return {name: unpickler.tensors[i] for name, i in indices.items()}


class _Unpickler(pickle.Unpickler):
  """Accepts three functions, storage types and SETTINGS, and refuses all else.

  Attributes:
    tensors: rebuilt tensors, in pickle order.
  """

  def __init__(self, data, members, path):
    super().__init__(io.BytesIO(data))
    self._members, self._path = members, path
    self.tensors = []

  def find_class(self, module, name):
    """Returns the replacement for a PyTorch global."""
    if (module, name) == ('collections', 'OrderedDict'):
      return _UniqueNames
    if module == 'torch' and name in STORAGES:
      return _StorageType(STORAGES[name])
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return self._tensor
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return self._parameter
    if SETTINGS.fullmatch(f'{module}.{name}'):
      return _Setting
    raise ValueError(
      f'its pickle calls {f"{module}.{name}"!r:.200}, which tensors do not '
      f'need: {WAY_ON}'
    )

  def persistent_load(self, pid):
    """Returns the storage for a persistent id."""
    kind, storage, key, _, count = pid
    if kind != 'storage' or not isinstance(storage, _StorageType):
      raise ValueError(f'its pickle refers to a {kind!r:.40}')
    start, size = _member(self._members, f'data/{key}')
    if type(count) is not int or count * storage.dtype.itemsize != size:
      raise ValueError(
        f'storage {key!r:.40} must have {count!r:.40} elements of '
        f'{storage.dtype}, got {size} bytes'
      )
    return _Storage(storage.dtype, start, count)

  def _tensor(self, storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage):
      raise ValueError('a tensor must have a storage')
    self.tensors.append(
      tensors.StridedTensor(
        self._path, *storage, tuple(shape), tuple(strides), offset
      )
    )
    return _TensorIndex(len(self.tensors) - 1)

  def _parameter(self, tensor, *_):
    return tensor
