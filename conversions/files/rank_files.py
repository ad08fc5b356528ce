"""Reads the files into which FSDP processes save their parts with `torch.save`.

pytorch_model_fsdp_<model>_rank<process>.bin    SHARDED_STATE_DICT of
                                                accelerate, use_dcp=False
pytorch_model_fsdp_rank<process>.bin            LOCAL_STATE_DICT, which has no
                                                names and shapes: refused
"""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib
import re

from conversions.files import distributed_tensors
from conversions.files import file_content
from conversions.files import state_dicts
from conversions.files import tensors
from conversions.files import tiled_tensor
from conversions.files import torch_file
from conversions.files import torch_pickle
from hermesflow_jax.runtime import user_text

NAME = re.compile(r'(pytorch_model_fsdp(?:_\d{1,5})?)_rank(\d{1,6})\.bin')
FLAT = '_flat_param'
# Tried with accelerate 1.15, whose load_state refuses these files: it calls
# torch.load with weights_only=True.
WAY_ON = (
  'in the program that trained it, within FSDP.state_dict_type(model, '
  'StateDictType.LOCAL_STATE_DICT), call '
  'model.load_state_dict(torch.load(path, weights_only=False), strict=False) '
  'with the path of each process, then save it with SHARDED_STATE_DICT'
)
RANK_WAY_ON = 'save it with SHARDED_STATE_DICT and use_dcp=True'


def is_part(path: pathlib.Path) -> bool:
  """Returns whether a file's name has a process's rank.

  Args:
    path: file.
  """
  return bool(NAME.fullmatch(path.name))


def parts(
  path: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> list[pathlib.Path]:
  """Returns the files of all processes by rank; [] without any.

  Args:
    path: a folder; or a file, which stands for its model.
    say: receives a line if a folder holds several models.

  Raises:
    ValueError: a process's file is missing.
  """
  if not path.is_dir() and not is_part(path):
    return []
  folder = path if path.is_dir() else path.parent
  models = {}
  for file in folder.iterdir():
    if (match := NAME.fullmatch(file.name)) and file.is_file():
      models.setdefault(match[1], {})[int(match[2])] = file
  if not models:
    return []
  name = min(models) if path.is_dir() else NAME.fullmatch(path.name)[1]
  if path.is_dir() and len(models) > 1:
    others = [models[other] for other in sorted(models) if other != name]
    listed = ', '.join(files[min(files)].name for files in others)
    say(f'{folder}: taking {name}; give {listed:.200} for the other model')
  files = models[name]
  if missing := sorted(set(range(max(files))) - set(files)):
    raise ValueError(
      f'{folder} must hold the files of processes 0 to {max(files)}, without '
      f'{", ".join(map(str, missing)):.60}: copy them from the machines that '
      'saved them'
    )
  return [files[rank] for rank in sorted(files)]


def read(
  files: Sequence[pathlib.Path], say: Callable[[str], None] = lambda line: None
) -> dict[str, tensors.Tensor]:
  """Reads names and places of the weights; tensors are read on demand.

  The first process gives tensors that all hold, e.g. buffers.

  Args:
    files: all files, see `parts`.
    say: receives a line with the number of files.

  Returns:
    Tensors by name.

  Raises:
    ValueError: a file is damaged, the files do not fit each other, or they hold
      flat parameters. The one-line message names them.
  """
  folder, by_name = files[0].parent, {}
  for path in files:
    for name, selected in _parts(path).items():
      by_name.setdefault(name, []).extend(selected)
  if flat := [name for name in by_name if name.split('.')[-1] == FLAT]:
    raise ValueError(
      f'{folder} must hold tensors by name, got flat parameters of '
      f'LOCAL_STATE_DICT, e.g. {flat[0]!r:.99}, whose names and shapes are in '
      f'no file: {WAY_ON}'
    )
  weights = {
    name: _join(folder, name, selected) for name, selected in by_name.items()
  }
  count = user_text.counted(len(files), 'file')
  say(f'{folder.name}: joining the parts of FSDP in {count}')
  return weights


def _parts(path) -> dict[str, list[distributed_tensors.Part]]:
  """Returns the parts in a file, by name."""
  file_content.refuse_text(path)
  contents = torch_file.read_contents(path, records=distributed_tensors.RECORDS)
  kinds = (torch_pickle.TensorIndex, *distributed_tensors.KINDS)
  try:
    values, _ = state_dicts.select(contents.value, kinds)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  selected = {}
  for name, value in values.items():
    try:
      selected[name] = distributed_tensors.parts(value, contents)
    except ValueError as error:
      raise ValueError(
        f'{path}: {name!r:.200}: {error}: {RANK_WAY_ON}'
      ) from error
  return selected


def _join(folder, name, selected) -> tensors.Tensor:
  """Returns a tensor from its parts."""
  try:
    if not selected:
      raise ValueError('no process has a part of it')
    first = selected[0]
    if any(
      part.shape != first.shape
      or len(part.coordinates) != len(first.coordinates)
      for part in selected
    ):
      raise ValueError('its parts must be of tensors with the same shape')
    sizes = [
      max(coordinates) + 1
      for coordinates in zip(*(part.coordinates for part in selected))
    ]
    boxes = {}
    for part in selected:
      if part.tensor.size:
        place = distributed_tensors.offsets(part, sizes), part.tensor.shape
        boxes.setdefault(place, part.tensor)
    joined = tuple((start, tensor) for (start, _), tensor in boxes.items())
    return tiled_tensor.TiledTensor(first.shape, first.tensor.dtype, joined)
  except ValueError as error:
    raise ValueError(
      f'{folder}: {name!r:.200}: {error}: the files of all processes of one '
      'save must lie here'
    ) from error
