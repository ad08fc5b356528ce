"""Reads the file `.metadata` of PyTorch's distributed checkpoints.

It is a pickle of records:

  state_dict_metadata   name -> shape, type, and boxes (offsets, sizes)
  storage_data          (name, offsets) -> file, first byte, bytes
  planner_data          name -> keys of nested dictionaries
"""

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np

from conversions.files import pickle_records
from conversions.files import tensors
from conversions.files import torch_file
from conversions.files import torch_pickle

# Along an axis; longer ones do not lie on a disk.
MOST_ELEMENTS = 2**40
# Longer keys are not those of a state dict.
MOST_KEYS = 16
FILE = re.compile(r'[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}')


class Metadata(pickle_records.Record):
  """All that the file holds."""

  __slots__ = ()


class TensorStorageMetadata(pickle_records.Record):
  """Shape, type and boxes of a tensor."""

  __slots__ = ()


class TensorProperties(pickle_records.Record):
  """Type of a tensor."""

  __slots__ = ()


class ChunkStorageMetadata(pickle_records.Record):
  """Box of a tensor."""

  __slots__ = ()


class MetadataIndex(pickle_records.Record):
  """Name and offsets of a box."""

  __slots__ = ()


class _StorageInfo(pickle_records.Record):
  """Place of a box in the files."""

  __slots__ = ()


RECORDS = {
  kind.__name__: kind
  for kind in (
    Metadata,
    TensorStorageMetadata,
    TensorProperties,
    ChunkStorageMetadata,
    MetadataIndex,
    _StorageInfo,
  )
}


class Name(str):
  """Name of a tensor, in place of the tensor."""

  __slots__ = ()


@dataclasses.dataclass(frozen=True)
class Chunk:
  """A box of a tensor and its place in the files.

  Attributes:
    offsets: index of the first element along each axis.
    sizes: shape.
    file: name of a file.
    start: first byte.
    length: bytes.
  """

  offsets: tuple[int, ...]
  sizes: tuple[int, ...]
  file: str
  start: int
  length: int


@dataclasses.dataclass(frozen=True)
class SavedTensor:
  """A tensor in the files.

  Attributes:
    shape: shape.
    dtype: element type.
    chunks: boxes with elements.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  chunks: tuple[Chunk, ...]


class Index:
  """The tensors in a checkpoint.

  Attributes:
    path: file.
  """

  def __init__(self, path: pathlib.Path):
    """Reads the file.

    Args:
      path: file.

    Raises:
      ValueError: it is damaged. One-line message.
    """
    self.path = path
    if path.stat().st_size > torch_file.MOST_PICKLE_BYTES:
      raise ValueError(f'{path}: a pickle of this length is not read')
    try:
      contents = torch_pickle.load(path.read_bytes(), {}, path, True, RECORDS)
      self._read(contents.value)
    except ValueError as error:
      raise ValueError(f'{path}: {error}') from error
    # A hostile pickle can raise any exception.
    except Exception as error:
      raise ValueError(
        f'{path} is damaged: {type(error).__name__} {str(error)[:200]!r}'
      ) from error

  def _read(self, value):
    if not isinstance(value, Metadata):
      raise ValueError(
        'it must hold the Metadata of torch.distributed.checkpoint, got '
        f'{type(value).__name__.lstrip("_")}'
      )
    self._entries = value.get('state_dict_metadata', dict)
    self._places = {}
    for index, place in dict.items(value.get('storage_data', dict)):
      if not isinstance(index, MetadataIndex):
        raise ValueError('storage_data must have a MetadataIndex as each key')
      name, offsets = index.get('fqn', str), index.get('offset', object)
      if isinstance(offsets, tuple) and isinstance(place, _StorageInfo):
        self._places.setdefault((name, tuple(offsets)), place)
    planner = value.get('planner_data', object)
    self._keys = planner if isinstance(planner, dict) else {}

  def nested(self) -> dict[Any, Any]:
    """Returns the dictionaries that were saved, with Names for tensors.

    Objects other than tensors are left out.

    Raises:
      ValueError: two tensors have the same keys.
    """
    top = {}
    for name, entry in dict.items(self._entries):
      if not isinstance(name, str) or not isinstance(
        entry, TensorStorageMetadata
      ):
        continue
      keys = self._keys.get(name)
      if (
        not isinstance(keys, tuple)
        or not 0 < len(keys) <= MOST_KEYS
        or any(type(key) not in (str, int) for key in keys)
      ):
        keys = (name,)
      place = top
      for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
          break
      if not isinstance(place, dict) or keys[-1] in place:
        raise ValueError(f'{self.path}: {name!r:.200} has the keys of another')
      place[keys[-1]] = Name(name)
    return top

  def tensor(self, name: str) -> SavedTensor:
    """Returns the boxes of a tensor.

    Args:
      name: name in the file.

    Raises:
      ValueError: its record is damaged. One-line message.
    """
    try:
      return self._tensor(name)
    except ValueError as error:
      raise ValueError(f'{self.path}: {name!r:.200}: {error}') from error

  def _tensor(self, name) -> SavedTensor:
    entry = self._entries[name]
    shape = _numbers(entry, 'size')
    chunks = {}
    for chunk in entry.get('chunks', list):
      if not isinstance(chunk, ChunkStorageMetadata):
        raise ValueError('its chunks must be of type ChunkStorageMetadata')
      offsets, sizes = _numbers(chunk, 'offsets'), _numbers(chunk, 'sizes')
      # Empty parts have no meaning; processes with the same part save it once.
      if 0 not in sizes and (offsets, sizes) not in chunks:
        place = self._places.get((name, offsets))
        if place is None:
          raise ValueError(f'its part at {offsets!r:.99} has no file')
        chunks[offsets, sizes] = Chunk(offsets, sizes, *_place(place))
    dtype = _dtype(entry.get('properties', TensorProperties))
    return SavedTensor(shape, dtype, tuple(chunks.values()))


def _place(place: _StorageInfo) -> tuple[str, int, int]:
  """Returns (file, first byte, bytes)."""
  file = place.get('relative_path', str)
  # A plain name cannot leave the folder.
  if not FILE.fullmatch(file):
    raise ValueError(f'its file must have a plain name, got {file!r:.200}')
  if place.fields.get('transform_descriptors'):
    raise ValueError(
      'it is compressed by an extension: save it with FileSystemWriter alone'
    )
  start, length = place.get('offset', int), place.get('length', int)
  if start < 0 or length < 0:
    raise ValueError(f'its bytes must begin at 0 or later, got {start!r:.40}')
  return file, start, length


def _numbers(record: pickle_records.Record, key: str) -> tuple[int, ...]:
  """Returns a tuple of sizes or offsets."""
  numbers = tuple(record.get(key, tuple))
  if len(numbers) > tensors.MAX_AXES or any(
    type(n) is not int or not 0 <= n < MOST_ELEMENTS for n in numbers
  ):
    raise ValueError(
      f'its {key} must be at most {tensors.MAX_AXES} whole numbers, got '
      f'{numbers!r:.99}'
    )
  return numbers


def _dtype(record: TensorProperties) -> np.dtype:
  """Returns the type of a tensor."""
  # PyTorch pickles the type as the first value of a tuple.
  fields = record.fields
  value = fields[0] if isinstance(fields, tuple) and fields else None
  if not isinstance(value, pickle_records.ElementType):
    raise ValueError(
      'its type must be one of ' + ', '.join(pickle_records.DTYPES)
    )
  return value.dtype
