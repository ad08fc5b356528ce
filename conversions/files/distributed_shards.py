"""Joins safetensors files into which processes have saved their parts.

PyTorch's HuggingFaceStorageWriter writes `shard-<process>-model-<n>-of-<n>`
files. The header of a file says where its parts begin in their tensors.
"""

from collections.abc import Sequence
import pathlib
import re

from conversions.files import safetensors_file
from conversions.files import tensors
from conversions.files import tiled_tensor
from hermesflow_jax.runtime import strict_json

NAME = re.compile(r'shard-(\d{5})-model-\d{5}-of-\d{5}\.safetensors')
PLACES = 'DCP_SHARDING_INFO'
OFFSETS = 'saved_offsets'


def parts(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files of all processes; [] if a folder holds none.

  Args:
    folder: any folder.
  """
  return sorted(path for path in folder.iterdir() if is_part(path))


def is_part(path: pathlib.Path) -> bool:
  """Returns whether a file's name is that of a part.

  Args:
    path: file.
  """
  return bool(NAME.fullmatch(path.name))


def read(files: Sequence[pathlib.Path]) -> dict[str, tensors.Tensor]:
  """Reads names and places of the weights; tensors are read on demand.

  Args:
    files: files of all processes.

  Returns:
    Tensors by name.

  Raises:
    ValueError: a file is missing or damaged, or the files do not fit each
      other. The one-line message names it.
  """
  folder = files[0].parent
  processes = {int(NAME.fullmatch(path.name)[1]) for path in files}
  if processes != set(range(1, len(processes) + 1)):
    missing = set(range(1, max(processes))) - processes
    raise ValueError(
      f'{folder} must hold the files of processes 1 to {max(processes)}, '
      f'without {", ".join(map(str, sorted(missing))):.60}: copy them from the '
      'machines that saved them'
    )
  by_name = {}
  for path in files:
    for name, part in _parts(path).items():
      by_name.setdefault(name, []).append(part)
  return {name: _join(folder, name, joined) for name, joined in by_name.items()}


def _parts(path) -> dict[str, tuple[tuple[int, ...], tensors.Tensor]]:
  """Returns (offsets, tensor) by name."""
  places = strict_json.loads(
    safetensors_file.metadata(path).get(PLACES, ''), f'{PLACES} of {path}'
  )
  parts = {}
  for name, tensor in safetensors_file.read(path).items():
    place = places.get(name)
    offsets = place.get(OFFSETS) if isinstance(place, dict) else None
    if (
      not isinstance(offsets, list)
      or len(offsets) != len(tensor.shape)
      or any(type(n) is not int or n < 0 for n in offsets)
    ):
      raise ValueError(
        f'{path}: {name!r:.200} must have {len(tensor.shape)} offsets at '
        f'{PLACES}, got {offsets!r:.99}'
      )
    parts[name] = (tuple(offsets), tensor)
  return parts


def _join(folder, name, parts) -> tiled_tensor.TiledTensor:
  """Returns a tensor from its parts."""
  start, first = parts[0]
  try:
    if any(len(tensor.shape) != len(start) for _, tensor in parts):
      raise ValueError('all parts must have the same number of axes')
    shape = tuple(
      max(offsets[axis] + tensor.shape[axis] for offsets, tensor in parts)
      for axis in range(len(start))
    )
    # Processes with the same part save it once; empty parts have no meaning.
    boxes = {
      (offsets, part.shape): (offsets, part)
      for offsets, part in parts
      if part.size
    }
    return tiled_tensor.TiledTensor(shape, first.dtype, tuple(boxes.values()))
  except ValueError as error:
    raise ValueError(f'{folder}: {name!r:.200}: {error}') from error
