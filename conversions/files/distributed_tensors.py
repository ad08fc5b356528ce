"""Reads FSDP's distributed tensors, which PyTorch pickles part by part.

DTensor         the full shape, a process's part, and how a mesh divides the
                axes (FSDP2)
ShardedTensor   the full shape, and parts with their offsets (FSDP1)
"""

from collections.abc import Sequence
from typing import NamedTuple

from conversions.files import pickle_records
from conversions.files import tensors
from conversions.files import torch_pickle


class _WithSlots(pickle_records.Record):
  """An object whose state is a pair of dictionaries, the second for slots."""

  __slots__ = ()

  def __setstate__(self, state):
    """Keeps the dictionary with attributes."""
    self.fields = state[1] if isinstance(state, tuple) and state[1:] else state


class DTensor(pickle_records.Record):
  """A tensor that a mesh of processes divides."""

  __slots__ = ()


class ShardedTensor(pickle_records.Record):
  """A tensor whose parts have offsets."""

  __slots__ = ()


class ShardedTensorMetadata(pickle_records.Record):
  """Metadata with the shape."""

  __slots__ = ()


class ShardMetadata(_WithSlots):
  """Metadata with the offsets."""

  __slots__ = ()


class DTensorSpec(pickle_records.Record):
  """A mesh and placements on it."""

  __slots__ = ()


class DeviceMesh(pickle_records.Record):
  """A grid whose points are processes."""

  __slots__ = ()


class Shard(_WithSlots):
  """A part with offsets; or a placement that divides an axis."""

  __slots__ = ()


class Replicate(pickle_records.Record):
  """A placement that repeats a tensor in all processes."""

  __slots__ = ()


class Partial(pickle_records.Record):
  """A placement whose tensor is a sum over processes."""

  __slots__ = ()


# Its name in PyTorch.
class _StridedShard(pickle_records.Record):
  """A placement that divides an axis into interleaved parts."""

  __slots__ = ()


class ShardOrderEntry(pickle_records.Record):
  """The order in which mesh axes divide a tensor axis."""

  __slots__ = ()

  def __new__(cls, *arguments):
    """Keeps the arguments (tensor axis, mesh axes)."""
    record = super().__new__(cls)
    record.fields = arguments
    return record


RECORDS = {
  kind.__name__: kind
  for kind in (
    DTensor,
    ShardedTensor,
    ShardedTensorMetadata,
    ShardMetadata,
    DTensorSpec,
    DeviceMesh,
    Shard,
    Replicate,
    Partial,
    _StridedShard,
    ShardOrderEntry,
  )
}
KINDS = (DTensor, ShardedTensor)


class Part(NamedTuple):
  """A part that a process holds.

  Attributes:
    shape: full shape.
    offsets: index of the first element along each axis; None for a DTensor,
      see `offsets`.
    tensor: elements.
    coordinates: the process's place in its mesh; () without a mesh.
    axes: tensor axis that each mesh axis divides, or None.
  """

  shape: tuple[int, ...]
  offsets: tuple[int, ...] | None
  tensor: tensors.StridedTensor
  coordinates: tuple[int, ...] = ()
  axes: tuple[int | None, ...] = ()


def parts(value, contents: torch_pickle.Contents) -> list[Part]:
  """Returns a tensor's parts in a file.

  Args:
    value: TensorIndex for a full tensor, or a record in KINDS.
    contents: the file.

  Raises:
    ValueError: the record is damaged, or divides a tensor in another way.
  """
  if isinstance(value, DTensor):
    return _of_mesh(value, contents)
  if isinstance(value, ShardedTensor):
    return _of_offsets(value, contents)
  tensor = contents.tensors[value]
  return [Part(tensor.shape, (0,) * len(tensor.shape), tensor)]


def _of_offsets(record: ShardedTensor, contents) -> list[Part]:
  local, metadata, *_ = _items(record.get('state', tuple), 2)
  if not isinstance(metadata, ShardedTensorMetadata):
    raise ValueError('its state must have a ShardedTensorMetadata')
  shape, selected = _numbers(metadata.get('size', tuple)), []
  for shard in local if isinstance(local, list) else []:
    if not isinstance(shard, Shard):
      raise ValueError('its parts must be of type Shard')
    place = shard.get('metadata', ShardMetadata)
    offsets = _numbers(place.get('shard_offsets', object))
    index = shard.get('tensor', torch_pickle.TensorIndex)
    selected.append(Part(shape, offsets, contents.tensors[index]))
  return selected


def _of_mesh(record: DTensor, contents) -> list[Part]:
  fields = _fields(record.get('state', tuple))
  spec, index = fields.get('_spec'), fields.get('_local_tensor')
  if not isinstance(spec, DTensorSpec) or not isinstance(
    index, torch_pickle.TensorIndex
  ):
    raise ValueError('its state must have a tensor and a DTensorSpec')
  shape = _numbers(record.get('size', tuple))
  coordinates = spec.get('mesh', DeviceMesh).get('_coordinate_on_dim', object)
  # Processes outside the mesh have no coordinates, and no elements.
  if coordinates is None:
    return []
  coordinates = _numbers(coordinates)
  placements = _items(spec.get('placements', object), len(coordinates))
  axes = tuple(_axis(placement, len(shape)) for placement in placements)
  _check_order(spec.fields.get('shard_order'))
  if len(axes) != len(coordinates):
    raise ValueError(
      f'it must have {len(coordinates)} placements, got {len(axes)}'
    )
  return [Part(shape, None, contents.tensors[index], coordinates, axes)]


def _axis(placement, count: int) -> int | None:
  """Returns the axis that a placement divides; None if all processes hold it.

  Args:
    placement: record.
    count: number of tensor axes.
  """
  if isinstance(placement, Replicate):
    return None
  if not isinstance(placement, Shard):
    raise ValueError(
      'its placements must be Shard or Replicate, got '
      f'{type(placement).__name__.lstrip("_")}'
    )
  axis = placement.get('dim', int)
  if not -count <= axis < count:
    raise ValueError(f'its axis {axis!r:.40} must be one of {count}')
  return axis % count


def _check_order(entries) -> None:
  """Raises ValueError unless mesh axes divide an axis in their order."""
  for entry in entries if isinstance(entries, list | tuple) else ():
    _, order = _items(getattr(entry, 'fields', None) or (), 2)[:2]
    if list(_numbers(order)) != sorted(_numbers(order)):
      raise ValueError(
        f'axes {order!r:.40} of its mesh must divide it in ascending order'
      )


def offsets(part: Part, sizes: Sequence[int]) -> tuple[int, ...]:
  """Returns where a part begins along each axis.

  Mesh axes divide a tensor axis one after another as `torch.chunk` does: 5
  rows on 2 processes are 3 and 2.

  Args:
    part: part.
    sizes: number of processes along each mesh axis.

  Raises:
    ValueError: the part has another shape than such a division gives.
  """
  if part.offsets is not None:
    return part.offsets
  starts, lengths = [0] * len(part.shape), list(part.shape)
  for coordinate, count, axis in zip(part.coordinates, sizes, part.axes):
    if axis is not None:
      rows = -(-lengths[axis] // count)
      first = min(coordinate * rows, lengths[axis])
      lengths[axis] = min(rows, lengths[axis] - first)
      starts[axis] += first
  if part.tensor.shape != tuple(lengths):
    raise ValueError(
      f'the part of process {part.coordinates!r:.40} must have shape '
      f'{tuple(lengths)!r:.99}, got {part.tensor.shape!r:.99}'
    )
  return tuple(starts)


def _fields(state: tuple) -> dict:
  """Returns the attributes in a state with slots."""
  fields = state[1] if len(state) == 2 else None
  if not isinstance(fields, dict):
    raise ValueError('its state must have attributes')
  return fields


def _items(value, least: int) -> tuple:
  """Returns a list's or tuple's items.

  Args:
    value: list or tuple.
    least: smallest number of items.
  """
  if not isinstance(value, list | tuple) or len(value) < least:
    raise ValueError(f'its state must have {least} items or more')
  return tuple(value)


def _numbers(value) -> tuple[int, ...]:
  """Returns sizes, offsets or coordinates."""
  numbers = tuple(value) if isinstance(value, list | tuple) else (None,)
  if len(numbers) > tensors.MAX_AXES or any(
    type(n) is not int or not 0 <= n < 2**40 for n in numbers
  ):
    raise ValueError(
      f'it must have at most {tensors.MAX_AXES} whole numbers, got '
      f'{numbers!r:.99}'
    )
  return numbers
