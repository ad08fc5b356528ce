"""Writes the files of FSDP's processes, `pytorch_model_fsdp_0_rank<i>.bin`."""

import io
import math

import distributed_folders
import numpy as np
import torch_files

NAME = 'pytorch_model_fsdp_0_rank{}.bin'
SHARDED = 'torch.distributed._shard'
PLACEMENTS = 'torch.distributed.tensor.placement_types'
Call, Named, Record = (
  distributed_folders.Call,
  distributed_folders.Named,
  distributed_folders.Record,
)


class _Pickler(distributed_folders.Pickler):
  """Writes arrays as tensors, in the protocol of `torch.save`."""

  dispatch = distributed_folders.Pickler.dispatch.copy()

  def __init__(self, file):
    super().__init__(file, 2)
    self.members = {}

  def save_array(self, value):
    key = str(len(self.members))
    self.members[key] = value.tobytes()
    strides = [n // value.itemsize for n in value.strides]
    kind = torch_files.STORAGES[value.dtype]
    self.write(
      torch_files.tensor(key, value.size, value.shape, strides, storage=kind)
    )

  def save_named(self, value):
    self.write(f'c{value.module}\n{value.name}\n'.encode())

  dispatch[np.ndarray] = save_array
  dispatch[Named] = save_named


def save(path, value) -> None:
  """Writes an object as `torch.save` does."""
  file = io.BytesIO()
  pickler = _Pickler(file)
  pickler.dump(value)
  data = {f'data/{key}': data for key, data in pickler.members.items()}
  path.parent.mkdir(parents=True, exist_ok=True)
  extra = {'byteorder': b'little', 'version': b'3\n'}
  torch_files.archive(path, file.getvalue(), extra | data)


def _wrapped(name, shape, state) -> Call:
  """Returns a tensor of a class that keeps the elements in its attributes."""
  kind = Named(*name.split())
  layout = Call('torch.serialization _get_layout', 'torch.strided')
  device = Call('torch device', 'cpu')
  dtype, strides = Named('torch', 'float32'), (1,) * len(shape)
  arguments = (kind, dtype, tuple(shape), strides, 0, layout, device, False)
  rebuild = Named('torch._utils', '_rebuild_wrapper_subclass')
  return Call(
    'torch._tensor _rebuild_from_type_v2', rebuild, kind, arguments, state
  )


def placement(axis: int | None) -> Record:
  """Returns how an axis of a mesh divides a tensor; None if it does not."""
  if axis is None:
    return Record(f'{PLACEMENTS} Replicate', {})
  return Record(f'{PLACEMENTS} Shard', {'dim': axis})


def dtensor(
  shape, part, coordinates, placements, order=(), mesh='DeviceMesh'
) -> Call:
  """Returns a DTensor.

  Args:
    shape: shape of the full tensor.
    part: array of a process.
    coordinates: its place in the mesh; None outside.
    placements: a record for each axis of the mesh.
    order: (axis of the tensor, axes of the mesh in the order in which they
      divide it).
    mesh: name of the class of the mesh.
  """
  mesh = Record(
    f'torch.distributed.device_mesh {mesh}',
    {
      '_coordinate_on_dim': coordinates,
      '_rank_map': np.arange(4),
      '_hash': -9064679778217955441,
    },
  )
  entry = 'torch.distributed.tensor._dtensor_spec ShardOrderEntry'
  spec = {
    'mesh': mesh,
    'placements': placements,
    'tensor_meta': Call('torch.distributed.tensor._dtensor_spec TensorMeta'),
    'shard_order': tuple(Call(entry, *axes) for axes in order),
  }
  fields = {
    '_local_tensor': part,
    '_spec': Record('torch.distributed.tensor._dtensor_spec DTensorSpec', spec),
  }
  return _wrapped('torch.distributed.tensor DTensor', shape, (None, fields))


def sharded(shape, parts) -> Call:
  """Returns a ShardedTensor with the parts (offsets, array) of a process."""
  shards = [
    Record(
      f'{SHARDED}.sharded_tensor.shard Shard',
      (
        None,
        {
          'tensor': part,
          'metadata': Record(
            f'{SHARDED}.metadata ShardMetadata',
            (None, {'shard_offsets': list(offsets)}),
          ),
        },
      ),
    )
    for offsets, part in parts
  ]
  metadata = Record(
    f'{SHARDED}.sharded_tensor.metadata ShardedTensorMetadata',
    {'size': distributed_folders.size(shape), 'shards_metadata': []},
  )
  kind = f'{SHARDED}.sharded_tensor.api ShardedTensor'
  group = Call('__builtin__ getattr', Named(*kind.split()), 'ProcessGroupState')
  return _wrapped(kind, shape, (shards, metadata, group, None, False))


def of_process(array, rank: int, processes: int, kind=dtensor):
  """Returns what a process saves of an array."""
  if not array.ndim:
    return array
  box = distributed_folders.boxes_of(array, processes)[rank]
  part = distributed_folders.part_of(array, box)
  if kind is sharded:
    return sharded(array.shape, [(box[0], part)] if part.size else [])
  return dtensor(array.shape, part, (rank,), (placement(0),), [(0, (0,))])


def of_grid(array, rank: int, grid, axes):
  """Returns what a process of a grid saves of an array.

  Args:
    array: array.
    rank: number of the process.
    grid: number of processes along each axis of the mesh.
    axes: axis of the array that each axis of the mesh divides, or None.
  """
  place, part = np.unravel_index(rank, grid), array
  for coordinate, count, axis in zip(place, grid, axes):
    if axis is not None:
      rows = math.ceil(part.shape[axis] / count)
      part = part.take(
        range(rows * coordinate, part.shape[axis])[:rows], axis=axis
      )
  coordinates = tuple(map(int, place))
  placements = tuple(map(placement, axes))
  return dtensor(
    array.shape, np.ascontiguousarray(part), coordinates, placements
  )


def write(folder, processes: int, arrays=torch_files.ARRAYS, kind=dtensor):
  """Writes the files of all processes.

  Args:
    folder: folder.
    processes: number of processes.
    arrays: arrays by name.
    kind: `dtensor` (FSDP2) or `sharded` (FSDP1).
  """
  for rank in range(processes):
    state = {
      name: of_process(array, rank, processes, kind)
      for name, array in arrays.items()
    }
    save(folder / NAME.format(rank), state)
