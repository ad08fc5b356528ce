"""Reads DeepSpeed's universal checkpoints without DeepSpeed and PyTorch.

zero/<name>/fp32.pt                           float32 weights of a parameter
mp_rank_00_model_states.pt                    module and shapes: ZeRO 1, 2
zero_pp_rank_<i>_mp_rank_00_model_states.pt   the same of rank i: ZeRO 3

DeepSpeed's script ds_to_universal writes such a folder, and its name into the
text file `latest_universal` beside it.
"""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib

from conversions.files import tensors
from conversions.files import zero_checkpoint
from conversions.files import zero_partitions
from conversions.files import zero_state

WEIGHTS = 'fp32.pt'
LATEST = 'latest_universal'


def is_part(path: pathlib.Path) -> bool:
  """Returns whether a file holds a parameter of such a checkpoint.

  Args:
    path: file.
  """
  return path.name == WEIGHTS and path.parent.parent.name == 'zero'


def refuse_part(path: pathlib.Path) -> None:
  """Refuses a file that has no meaning without the other files.

  Args:
    path: file of any kind.

  Raises:
    ValueError: it is a part of a checkpoint.
  """
  if is_part(path):
    raise ValueError(
      f'{path} must be a file with all weights, got a single parameter: give '
      f'{path.parent.parent.parent}'
    )


def parts(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the files of a universal checkpoint; [] if a folder is none.

  Args:
    folder: folder of a checkpoint.

  Returns:
    Files with the module, then files with the parameters.
  """
  if not folder.is_dir() or not zero_checkpoint.is_universal(folder):
    return []
  states = [path for path in folder.iterdir() if zero_checkpoint.is_part(path)]
  weights = folder.glob(zero_checkpoint.UNIVERSAL)
  return sorted(states) + sorted(weights)


def newest(
  folder: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> list[pathlib.Path]:
  """Returns the files of the checkpoint that `latest_universal` names.

  Args:
    folder: folder above the checkpoint.
    say: receives a line with its name.

  Raises:
    ValueError: the text file names no checkpoint.
  """
  latest = folder / LATEST
  if not latest.is_file():
    return []
  with open(latest, 'rb') as file:
    tag = file.read(200).decode(errors='replace').strip()
  files = parts(folder / tag) if zero_checkpoint.TAG.fullmatch(tag) else []
  if not files:
    raise ValueError(
      f'{latest} must name a universal checkpoint beside it, got '
      f'{tag!r:.99}: copy that folder, too, or give another as SRC'
    )
  say(f'{folder}: taking {tag}')
  return files


def read(
  files: Sequence[pathlib.Path], say: Callable[[str], None] = lambda line: None
) -> dict[str, tensors.Tensor]:
  """Reads names and places of the weights; tensors are read on demand.

  Args:
    files: all files of a checkpoint, see `parts`.
    say: receives a line that says which weights are taken.

  Returns:
    Tensors by name.

  Raises:
    ValueError: files are missing or damaged, or do not fit each other. The
      one-line message names them.
  """
  by_name = {path.parent.name: path for path in files if is_part(path)}
  folder = files[-1].parent.parent.parent
  states = [path for path in files if not is_part(path)]
  models, _ = zero_checkpoint.by_rank(folder, states)
  if sorted(models) != list(range(len(models))) or not models:
    raise ValueError(
      f'{folder} must hold the files *_model_states.pt of all ranks, got ranks '
      f'{sorted(models)!r:.60}: copy them from the checkpoint that it was made '
      'from'
    )
  opened = [zero_state.open_file(path) for _, path in sorted(models.items())]
  first = opened[0]
  # Files of ranks are those of ZeRO 3.
  if zero_checkpoint.NAME.fullmatch(first.path.name)['rank']:
    weights = zero_partitions.untrained(opened)
  else:
    weights = first.named_tensors('module')
  shapes = {
    name: shape
    for group in first.group_shapes()
    for name, shape in group.items()
  }
  if missing := [name for name in shapes if name not in by_name]:
    raise ValueError(
      f'{folder}/zero must hold a folder with {WEIGHTS} for each parameter, '
      f'without {", ".join(missing):.200}: copy them, too'
    )
  for name, shape in shapes.items():
    weights[name] = _parameter(by_name[name], shape)
  say(
    f'{folder.name}: universal checkpoint of DeepSpeed: taking the float32 '
    'weights of the optimizer, not those of the module'
  )
  return zero_partitions.with_shared(weights, first)


def _parameter(path, shape) -> tensors.Tensor:
  """Returns the tensor of a file, whose shape a vector does not tell."""
  state = zero_state.open_file(path)
  # ZeRO 1 and 2: {'param': tensor}. ZeRO 3: a vector.
  tensor = state.tensor('param') or state.tensor()
  if tensor is not None and tensor.shape == shape:
    return tensor
  if tensor is None or len(tensor.shape) != 1:
    raise ValueError(
      f'{path} must hold a tensor of shape {shape!r:.99}, got '
      + ('no tensor' if tensor is None else f'{tensor.shape!r:.99}')
    )
  try:
    return tensors.JoinedTensor(shape, tensor.dtype, (tensor,))
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
