"""Reads folders of torch.distributed.checkpoint without PyTorch.

.metadata             tensors and their places, see `distributed_metadata`
__<rank>_<n>.distcp   parts of tensors that a process has saved

accelerate writes such a folder as `pytorch_model_fsdp_0`, beside `optimizer_0`,
with FSDP and SHARDED_STATE_DICT. In a file, each part is an archive of
`torch.save`; or all of the file is a safetensors file.
"""

from collections.abc import Callable
import pathlib
import re

from conversions.files import distributed_metadata
from conversions.files import file_content
from conversions.files import safetensors_file
from conversions.files import state_dicts
from conversions.files import tensors
from conversions.files import tiled_tensor
from conversions.files import torch_file
from conversions.files import torch_pickle

METADATA = '.metadata'
SUFFIX = '.distcp'
# Names of folders that accelerate and others write in a checkpoint.
MODEL = re.compile(r'(pytorch_)?model(_fsdp)?(_\d+)?')
OPTIMIZER = re.compile(r'optim(izers?)?(_\d+)?')
WAY_ON = 'torch.distributed.checkpoint.save({{"model": state_dict}}) of {keys}'


def is_part(path: pathlib.Path) -> bool:
  """Returns whether a file's name is that of a part of such a folder.

  Args:
    path: file.
  """
  return path.name == METADATA or path.suffix == SUFFIX


def holds_model(folder: pathlib.Path) -> bool:
  """Returns whether a folder is a checkpoint, but not that of an optimizer.

  Args:
    folder: any folder.
  """
  optimizer = OPTIMIZER.fullmatch(folder.name)
  return not optimizer and (folder / METADATA).is_file()


def refuse_part(path: pathlib.Path) -> None:
  """Refuses a file that has no meaning without the other files.

  Args:
    path: file of any kind.

  Raises:
    ValueError: it is a part of a checkpoint.
  """
  if is_part(path):
    raise ValueError(
      f'{path} must be a file with all weights, got a part of a checkpoint: '
      f'give {path.parent}'
    )


def parts(
  folder: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> list[pathlib.Path]:
  """Returns the files of a checkpoint, `.metadata` first; [] without any.

  Args:
    folder: folder with `.metadata`, or a folder that holds such a folder with a
      name like `pytorch_model_fsdp_0`.
    say: receives a line if the folder above was given.

  Raises:
    ValueError: there are several checkpoints, or `.metadata` is missing. The
      one-line message names them.
  """
  if not folder.is_dir():
    return []
  if files := _parts_in(folder):
    return files
  inner = {
    path.name: files
    for path in sorted(folder.iterdir())
    if path.is_dir() and MODEL.fullmatch(path.name)
    if (files := _parts_in(path))
  }
  if len(inner) > 1:
    raise ValueError(
      f'{folder} must hold the weights of one model, got {len(inner)} folders: '
      f'give {folder}/{next(iter(inner))}, or another of '
      f'{", ".join(inner):.200}'
    )
  for name, files in inner.items():
    say(f'{folder}: taking {name}')
    return files
  return []


def _parts_in(folder) -> list[pathlib.Path]:
  files = sorted(
    path
    for path in folder.iterdir()
    if path.suffix == SUFFIX and path.is_file()
  )
  if (folder / METADATA).is_file():
    return [folder / METADATA, *files]
  if files:
    raise ValueError(
      f'{folder} must hold a file {METADATA}, got {files[0].name} without it: '
      'copy it from the machine of rank 0'
    )
  return []


def read(
  files: list[pathlib.Path], say: Callable[[str], None] = lambda line: None
) -> tuple[dict[str, tensors.Tensor], tuple[pathlib.Path, ...]]:
  """Reads names and places of the weights; tensors are read on demand.

  Args:
    files: files of a checkpoint, see `parts`.
    say: receives a line if the tensors lie within another dictionary.

  Returns:
    (tensors by name, files that hold them).

  Raises:
    ValueError: files are missing or damaged, or do not fit each other. The
      one-line message names them.
  """
  folder = files[0].parent
  file_content.refuse_text(files[0])
  index = distributed_metadata.Index(files[0])
  names, keys = _select(index, folder)
  if keys:
    say(f'{folder.name}: taking the tensors in {state_dicts.place(keys)}')
  saved = {name: index.tensor(full) for name, full in names.items()}
  used = {chunk.file for tensor in saved.values() for chunk in tensor.chunks}
  missing = sorted(file for file in used if not (folder / file).is_file())
  if missing:
    raise ValueError(
      f'{folder} must hold {len(used)} files as {METADATA} says, without '
      f'{", ".join(missing):.200}: copy the missing files from the machines '
      'that saved them'
    )
  reader = _Parts(folder)
  weights = {
    name: reader.tensor(names[name], tensor) for name, tensor in saved.items()
  }
  return weights, (files[0], *(folder / file for file in sorted(used)))


def _select(index: distributed_metadata.Index, folder):
  """Returns (name in `.metadata` by name of the tensor, keys)."""
  nested = {
    key: value
    for key, value in index.nested().items()
    if not isinstance(value, dict)
    or not state_dicts.NOT_WEIGHTS.search(str(key).lower())
  }
  if OPTIMIZER.fullmatch(folder.name) or not nested:
    raise ValueError(
      f'{folder} must hold the weights of a model, got no tensors or the '
      'states of an optimizer: give the folder beside it'
    )
  try:
    return state_dicts.select(nested, distributed_metadata.Name, WAY_ON)
  except ValueError as error:
    raise ValueError(f'{index.path}: {error}') from error


class _Parts:
  """Opens the parts of tensors in a folder."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    # Tensors of safetensors files by name; None for other files.
    self._files = {}

  def tensor(
    self, name: str, saved: distributed_metadata.SavedTensor
  ) -> tensors.Tensor:
    """Returns a tensor of all its parts.

    Args:
      name: name in `.metadata`.
      saved: tensor.

    Raises:
      ValueError: a part is damaged, or the parts do not fit each other.
    """
    parts = [(chunk.offsets, self._part(name, chunk)) for chunk in saved.chunks]
    try:
      return tiled_tensor.TiledTensor(saved.shape, saved.dtype, tuple(parts))
    except ValueError as error:
      raise ValueError(f'{self._folder}: {name!r:.200}: {error}') from error

  def _part(self, name, chunk: distributed_metadata.Chunk) -> tensors.Tensor:
    path = self._folder / chunk.file
    if chunk.file not in self._files:
      file_content.refuse_text(path)
      self._files[chunk.file] = (
        safetensors_file.read(path)
        if file_content.is_safetensors(path)
        else None
      )
    by_name = self._files[chunk.file]
    if by_name is not None:
      part = by_name.get(name)
    else:
      part = _of_archive(path, chunk)
    if part is None or part.shape != chunk.sizes:
      raise ValueError(
        f'{path}: {name!r:.200} must have shape {chunk.sizes!r:.99}, got '
        + ('no tensor' if part is None else f'{part.shape!r:.99}')
        + ': its files are not of one checkpoint'
      )
    return part


def _of_archive(path, chunk: distributed_metadata.Chunk):
  """Returns the tensor in an archive of `torch.save`; None without any."""
  size = path.stat().st_size
  if chunk.start + chunk.length > size:
    raise ValueError(
      f'{path} must have {chunk.start + chunk.length!s:.40} bytes or more, got '
      f'{size}: copy the complete file'
    )
  contents = torch_file.read_contents(path, chunk.start, chunk.length)
  if not isinstance(contents.value, torch_pickle.TensorIndex):
    return None
  return contents.tensors[contents.value]
