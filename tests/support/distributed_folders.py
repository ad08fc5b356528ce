"""Writes folders of torch.distributed.checkpoint by hand."""

import io
import json
import pickle

import numpy as np
import torch_files
import zero_folders

from conversions.files import pickle_records
from conversions.files import safetensors_file

CHECKPOINT = 'torch.distributed.checkpoint'


class Named:
  """A class or function of another module, by its name alone."""

  def __init__(self, module: str, name: str):
    self.module, self.name = module, name


class Call:
  """An object that a pickle makes by a call."""

  def __init__(self, name: str, *arguments):
    self.function = Named(*name.split())
    self.arguments = arguments


class Record(Call):
  """An object that a pickle makes empty, and then gives its attributes."""

  def __init__(self, name: str, fields):
    super().__init__(name)
    self.fields = fields


class Pickler(pickle._Pickler):
  """Writes the opcodes of PyTorch's objects without PyTorch."""

  dispatch = pickle._Pickler.dispatch.copy()

  def save_named(self, value):
    if id(value) in self.memo:
      self.write(self.get(self.memo[id(value)][0]))
      return
    self.save(value.module)
    self.save(value.name)
    self.write(pickle.STACK_GLOBAL)
    self.memoize(value)

  def save_call(self, value):
    self.save(value.function)
    self.save(value.arguments)
    self.write(pickle.REDUCE)
    self.memoize(value)

  def save_record(self, value):
    self.save(value.function)
    self.save(())
    self.write(pickle.NEWOBJ)
    self.memoize(value)
    self.save(value.fields)
    self.write(pickle.BUILD)

  dispatch[Named] = save_named
  dispatch[Call] = save_call
  dispatch[Record] = save_record


def dumps(value) -> bytes:
  """Returns a pickle in the protocol that PyTorch uses for `.metadata`."""
  file = io.BytesIO()
  Pickler(file, 4).dump(value)
  return file.getvalue()


def size(numbers) -> Call:
  """Returns a torch.Size."""
  return Call('torch Size', tuple(numbers))


def tensor_record(array, boxes) -> Record:
  """Returns the entry of a tensor, with its parts [(offsets, sizes)]."""
  name = {d: n for n, d in pickle_records.DTYPES.items()}[array.dtype]
  layout = Call('torch.serialization _get_layout', 'torch.strided')
  memory = Call(f'{CHECKPOINT}.metadata _MEM_FORMAT_ENCODING', 0)
  properties = (Named('torch', name), layout, False, memory, False)
  chunks = [
    Record(
      f'{CHECKPOINT}.metadata ChunkStorageMetadata',
      {'offsets': size(offsets), 'sizes': size(sizes)},
    )
    for offsets, sizes in boxes
  ]
  return Record(
    f'{CHECKPOINT}.metadata TensorStorageMetadata',
    {
      'properties': Record(
        f'{CHECKPOINT}.metadata TensorProperties', properties
      ),
      'size': size(array.shape),
      'chunks': chunks,
    },
  )


def index(name, offsets) -> Record:
  """Returns the key of a part."""
  fields = {'fqn': name, 'index': 0, 'offset': size(offsets)}
  return Record(f'{CHECKPOINT}.metadata MetadataIndex', fields)


def place(file, start, length, **others) -> Record:
  """Returns the place of a part in the files."""
  fields = {'relative_path': file, 'offset': start, 'length': length}
  name = f'{CHECKPOINT}.filesystem _StorageInfo'
  return Record(name, fields | others)


def boxes_of(array, processes: int) -> list[tuple]:
  """Returns [(offsets, sizes)] along the first axis, as torch.chunk cuts it."""
  if not array.ndim:
    return [((), ())]
  rows, zeros = -(-len(array) // processes), (0,) * (array.ndim - 1)
  starts = [min(rank * rows, len(array)) for rank in range(processes)]
  return [
    ((start, *zeros), (min(rows, len(array) - start), *array.shape[1:]))
    for start in starts
  ]


def archived(array) -> bytes:
  """Returns what `torch.save` writes for an array."""
  members = {}
  pickled = b'\x80\x02' + zero_folders.encode(array, members) + b'.'
  data = {f'data/{key}': data for key, data in members.items()}
  extra = {'byteorder': b'little', 'version': b'3\n'}
  return torch_files.archive(io.BytesIO(), pickled, extra | data).getvalue()


def part_of(array, box) -> np.ndarray:
  """Returns a box of an array."""
  return np.ascontiguousarray(
    array[tuple(slice(start, start + n) for start, n in zip(*box))]
  ).reshape(box[1])


def state(arrays, folder, processes: int, keys=('model',)) -> dict:
  """Writes the files of all processes; returns the fields of the Metadata.

  Args:
    arrays: arrays by name.
    folder: new folder.
    processes: number of processes.
    keys: keys of the dictionary of the arrays.
  """
  folder.mkdir(parents=True)
  entries, places, names = {}, {}, {}
  files = {f'__{rank}_0.distcp': b'' for rank in range(processes)}
  for name, array in arrays.items():
    full, boxes = '.'.join((*keys, name)), boxes_of(array, processes)
    entries[full], names[full] = tensor_record(array, boxes), (*keys, name)
    for (file, data), box in zip(files.items(), boxes):
      part = archived(part_of(array, box))
      places[index(full, box[0])] = place(file, len(data), len(part))
      files[file] = data + part
  entries['step'] = Record(f'{CHECKPOINT}.metadata BytesStorageMetadata', {})
  names['step'] = ('step',)
  for file, data in files.items():
    (folder / file).write_bytes(data)
  return {
    'state_dict_metadata': entries,
    'planner_data': names,
    'storage_data': places,
    'storage_meta': Call('my_program Storage', '/tmp'),
    'version': '1.0.0',
  }


def save_metadata(folder, fields) -> None:
  """Writes the file `.metadata`."""
  record = Record(f'{CHECKPOINT}.metadata Metadata', fields)
  (folder / '.metadata').write_bytes(dumps(record))


def write(folder, processes: int, arrays=torch_files.ARRAYS, keys=('model',)):
  """Writes a folder; see `state`."""
  save_metadata(folder, state(arrays, folder, processes, keys))


def write_safetensors(folder, processes: int, arrays=torch_files.ARRAYS):
  """Writes the files of HuggingFaceStorageWriter."""
  folder.mkdir(parents=True, exist_ok=True)
  for rank in range(processes):
    boxes = {
      name: boxes_of(array, processes)[rank]
      for name, array in arrays.items()
      if array.ndim or not rank
    }
    parts = {name: part_of(arrays[name], box) for name, box in boxes.items()}
    places = {name: {'saved_offsets': box[0]} for name, box in boxes.items()}
    safetensors_file.write(
      folder / f'shard-{rank + 1:05d}-model-00001-of-00001.safetensors',
      {name: (part.shape, part.dtype) for name, part in parts.items()},
      parts.get,
      {'DCP_SHARDING_INFO': json.dumps(places), 'format': 'pt'},
    )
