"""Reads the pickle in a file of PyTorch without running code.

A pickle can call any function, so this reader calls none. The functions that
rebuild tensors are replaced by functions that note byte ranges, and settings of
known training programs by empty objects; all else is refused, or replaced by
empty objects, too.
"""

import collections
from collections.abc import Mapping
import io
import pathlib
import pickle
import re
from typing import Any
from typing import NamedTuple

import numpy as np

from conversions.files import pickle_opcodes
from conversions.files import pickle_records
from conversions.files import tensors

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
# Types of settings beside the weights. No code of theirs runs, and their values
# are not read.
SETTINGS = re.compile(
  r'torch\.(device|Tensor|(float|bfloat|u?int|complex)\d+|bool)'
  r'|argparse\.Namespace|collections\.(defaultdict|Counter)|_codecs\.encode'
  r'|pathlib\.\w*Path|(__builtin__|builtins)\.(set|frozenset|slice|range)'
  r'|numpy\.dtype|numpy\._?core\.multiarray\.(scalar|_reconstruct)'
  r'|numpy\.ndarray|datetime\.\w+'
  r'|(deepspeed|omegaconf|lightning|lightning_fabric|pytorch_lightning'
  r'|lightning_utilities|transformers|accelerate|ml_collections)\.[\w.]+'
)
WAY_ON = 'load it with PyTorch if you trust it, and save its state_dict() alone'


class _Storage(NamedTuple):
  """A byte range that several tensors may share."""

  dtype: np.dtype
  start: int
  count: int


class TensorIndex(int):
  """Replaces a tensor by its index in `_Unpickler.tensors`."""

  __slots__ = ()


class _Size(tuple, metaclass=pickle_records.Frozen):
  """Replaces torch.Size."""

  __slots__ = ()


def _integer(value) -> int:
  """Replaces an enumeration of integers."""
  if type(value) is not int:
    raise ValueError(f'an enumeration must hold an integer, got {value!r:.40}')
  return value


class _UniqueNames(collections.OrderedDict, metaclass=pickle_records.Frozen):
  """A dictionary that refuses a second value for a name."""

  def __setitem__(self, name, value):
    if name in self:
      raise ValueError(f'duplicate name {name!r:.200}')
    super().__setitem__(name, value)


class _Setting(metaclass=pickle_records.Frozen):
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


def member(
  members: Mapping[str, tuple[int, int]], name: str
) -> tuple[int, int]:
  """Returns (first byte, byte count) of a member of a file.

  Args:
    members: name -> (first byte, byte count).
    name: member.

  Raises:
    ValueError: the member is missing.
  """
  if name not in members:
    raise ValueError(f'member {name[:200]!r} is missing')
  return members[name]


class Contents(NamedTuple):
  """An object that was saved, and the tensors in it.

  Attributes:
    value: dictionaries, lists, tuples, numbers and texts. Values of the type
      TensorIndex stand for tensors.
    tensors: tensors by index.
  """

  value: Any
  tensors: list[tensors.StridedTensor]


def load(
  data: bytes,
  members: Mapping[str, tuple[int, int]],
  path: pathlib.Path,
  skip_unknown: bool,
  records: Mapping[str, type[pickle_records.Record]] | None = None,
) -> Contents:
  """Reads a pickle.

  Args:
    data: pickle.
    members: name -> (first byte, byte count) of the file's members.
    path: file that holds the pickle and the members.
    skip_unknown: whether objects of unknown types become empty objects. By
      default they are refused.
    records: replacements of classes of torch.distributed, by name. With them,
      torch.float32 and similar types become ElementTypes, and opcodes of newer
      pickles are accepted.

  Raises:
    Exception: the pickle is damaged or needs more than tensors.
  """
  opcodes = (
    pickle_opcodes.TENSORS if records is None else pickle_opcodes.RECORDS
  )
  pickle_opcodes.check(data, opcodes, WAY_ON)
  unpickler = _Unpickler(data, members, path, skip_unknown, records or {})
  return Contents(unpickler.load(), unpickler.tensors)


class _Unpickler(pickle.Unpickler):
  """Replaces functions and types of PyTorch, and refuses or empties all else.

  Attributes:
    tensors: rebuilt tensors, in pickle order.
  """

  def __init__(self, data, members, path, skip_unknown, records):
    super().__init__(io.BytesIO(data))
    self._members, self._path = members, path
    self._skip_unknown, self._records = skip_unknown, records
    self.tensors = []

  def find_class(self, module, name):
    """Returns the replacement for a PyTorch global."""
    if module.startswith('torch.distributed.') and name in self._records:
      return self._records[name]
    if self._records and module == 'torch' and name in pickle_records.DTYPES:
      return pickle_records.ElementType(pickle_records.DTYPES[name])
    if (module, name) == ('collections', 'OrderedDict'):
      return _UniqueNames
    if module == 'torch' and name in STORAGES:
      return pickle_records.ElementType(STORAGES[name])
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return self._tensor
    if (module, name) == ('torch._utils', '_rebuild_parameter'):
      return self._parameter
    if module == 'torch._tensor' and name.startswith('_rebuild_from_type'):
      return self._typed
    if self._records and name == '_rebuild_wrapper_subclass':
      return self._distributed
    # The class of an attribute, which is not read.
    if self._records and name == 'getattr':
      return self._inner_class
    if (module, name) == ('torch', 'Size'):
      return _Size
    if name == 'ZeroStageEnum':
      return _integer
    if self._skip_unknown or SETTINGS.fullmatch(f'{module}.{name}'):
      return _Setting
    raise ValueError(
      f'its pickle calls {f"{module}.{name}"!r:.200}, which tensors do not '
      f'need: {WAY_ON}'
    )

  def persistent_load(self, pid):
    """Returns the storage for a persistent id."""
    kind, storage, key, _, count = pid
    if kind != 'storage' or not isinstance(storage, pickle_records.ElementType):
      raise ValueError(f'its pickle refers to a {kind!r:.40}')
    start, size = member(self._members, f'data/{key}')
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
    return TensorIndex(len(self.tensors) - 1)

  def _parameter(self, tensor, *_):
    return tensor

  def _inner_class(self, *_):
    return _Setting

  def _distributed(self, kind, _, size, *others):
    """Returns a record of a tensor whose elements lie in its attributes."""
    record = kind()
    if isinstance(record, pickle_records.Record):
      record.fields = {'size': size, 'state': others[-1]}
    return record

  def _typed(self, function, kind, arguments, state=None, *_):
    """Rebuilds a tensor that has attributes, without those it can lack."""
    if function == self._distributed:
      return self._distributed(*arguments, state)
    if function != self._tensor:
      raise ValueError('a tensor must be rebuilt from a storage')
    return self._tensor(*arguments)
