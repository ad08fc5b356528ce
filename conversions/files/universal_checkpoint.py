"""Reads DeepSpeed's universal checkpoints without DeepSpeed and PyTorch.

zero/<name>/fp32.pt                           float32 weights of a parameter
mp_rank_00_model_states.pt                    module and shapes: ZeRO 1, 2
zero_pp_rank_<i>_mp_rank_00_model_states.pt   the same of rank i: ZeRO 3

A training with model parallelism (AutoTP) has a file mp_rank_<slice> for each
slice of the model; the float32 weights are joined already.

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
COPY = 'copy them from the checkpoint that it was made from'


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
  slices = {}
  for path in files:
    if not is_part(path):
      slices.setdefault(zero_checkpoint.slice_of(path), []).append(path)
  if sorted(slices) != list(range(len(slices))) or not slices:
    raise ValueError(
      f'{folder} must hold the files *_model_states.pt of all slices, got '
      f'slices {sorted(slices)!r:.60}: {COPY}'
    )
  states = [_opened(folder, paths) for _, paths in sorted(slices.items())]
  first = states[0][0]
  shapes = [_shapes(opened[0]) for opened in states]
  if missing := [name for name in shapes[0] if name not in by_name]:
    raise ValueError(
      f'{folder}/zero must hold a folder with {WEIGHTS} for each parameter, '
      f'without {", ".join(missing):.200}: copy them, too'
    )
  weights = _untrained(folder, states, shapes[0].keys())
  for name in shapes[0]:
    weights[name] = _parameter(by_name[name], [s.get(name) for s in shapes])
  count = f' of {len(states)} slices' if len(states) > 1 else ''
  say(
    f'{folder.name}: universal checkpoint of DeepSpeed{count}: taking the '
    'float32 weights of the optimizer, not those of the module'
  )
  return zero_partitions.with_shared(weights, first)


def _opened(folder, paths) -> list[zero_state.State]:
  """Returns the files with the module in a slice, by rank."""
  models, _ = zero_checkpoint.by_rank(folder, paths)
  if sorted(models) != list(range(len(models))) or not models:
    raise ValueError(
      f'{folder} must hold the files *_model_states.pt of all ranks, got ranks '
      f'{sorted(models)!r:.60}: {COPY}'
    )
  return [zero_state.open_file(path) for _, path in sorted(models.items())]


def _shapes(state: zero_state.State) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of the trained parameters in a slice."""
  return {
    name: shape
    for group in state.group_shapes()
    for name, shape in group.items()
  }


def _untrained(folder, states, trained) -> dict[str, tensors.Tensor]:
  """Returns buffers and frozen weights, which must be equal in all slices."""
  # Files of ranks are those of ZeRO 3.
  of_ranks = zero_checkpoint.NAME.fullmatch(states[0][0].path.name)['rank']
  modules = [
    zero_partitions.untrained(opened)
    if of_ranks
    else opened[0].named_tensors('module')
    for opened in states
  ]
  shared = zero_partitions.with_shared(dict.fromkeys(trained), states[0][0])
  for name, tensor in modules[0].items():
    for other in modules[1:] if name not in shared else ():
      if not _equal(tensor, other.get(name)):
        raise ValueError(
          f'{folder} must have the same {name!r:.200} in all slices of model '
          'parallelism, since it is not trained and no file says how its '
          f'slices are joined: {zero_checkpoint.WAY_ON}'
        )
  return modules[0]


def _equal(tensor, other) -> bool:
  return (
    other is not None
    and (tensor.shape, tensor.dtype) == (other.shape, other.dtype)
    and tensor.read().tobytes() == other.read().tobytes()
  )


def _parameter(path, shapes) -> tensors.Tensor:
  """Returns a file's tensor; a vector gets its shape.

  Args:
    path: file.
    shapes: shape in each slice of model parallelism, None where a slice does
      not have the parameter. Slices are joined along an axis, and rows that
      fill up a vocabulary are left out.
  """
  state = zero_state.open_file(path)
  # ZeRO 1 and 2: {'param': tensor}. ZeRO 3: a vector.
  tensor = state.tensor('param') or state.tensor()
  if tensor is not None and _fits(tensor.shape, shapes):
    return tensor
  if tensor is None or len(tensor.shape) != 1 or len(shapes) > 1:
    raise ValueError(
      f'{path} must hold a tensor of shape {shapes[0]!r:.99}, got '
      + ('no tensor' if tensor is None else f'{tensor.shape!r:.99}')
      + (f' for {len(shapes)} slices' if len(shapes) > 1 else '')
    )
  try:
    return tensors.JoinedTensor(shapes[0], tensor.dtype, (tensor,))
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def _fits(joined, shapes) -> bool:
  """Returns whether a shape fits slices, or slices side by side."""
  if joined == shapes[0]:
    return True
  if any(shape is None or len(shape) != len(joined) for shape in shapes):
    return False
  axes = [i for i, n in enumerate(joined) if n != shapes[0][i]]
  most = sum(shape[axes[0]] for shape in shapes)
  return len(axes) == 1 and len(shapes) > 1 and joined[axes[0]] <= most
