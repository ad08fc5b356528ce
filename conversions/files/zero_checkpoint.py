"""Reads DeepSpeed's checkpoint folders without DeepSpeed and PyTorch.

mp_rank_00_model_states.pt                    module and shapes: ZeRO 0, 1, 2
zero_pp_rank_<i>_mp_rank_00_model_states.pt   the same of rank i: ZeRO 3
zero_pp_rank_<i>_mp_rank_00_optim_states.pt   float32 weights of rank i

The module holds the weights in the type that training computes in, often
bfloat16. The optimizer holds them in float32, and these are read.
`zero_partitions` joins the parts of the ranks.
"""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib
import re

from conversions.files import tensors
from conversions.files import zero_partitions
from conversions.files import zero_state

# Weights of a universal checkpoint, which has files like those above, too: see
# `universal_checkpoint`.
UNIVERSAL = 'zero/*/fp32.pt'
ENDINGS = ('model_states.pt', 'optim_states.pt')
NAME = re.compile(
  r'(?P<type>(?:bf16|fp16)_)?(?:zero_pp_rank_(?P<rank>\d{1,5})_)?'
  r'mp_rank_(?P<slice>\d\d)_(?P<kind>model|optim)_states\.pt'
)
TAG = re.compile(r'[\w-][\w.-]{0,127}')
WAY_ON = (
  'load it in the program that trained it, and save its state_dict() with '
  'PyTorch'
)


def is_part(path: pathlib.Path) -> bool:
  """Returns whether a file's name is that of a part of a ZeRO checkpoint.

  Args:
    path: file.
  """
  return path.name.endswith(ENDINGS)


def is_universal(folder: pathlib.Path) -> bool:
  """Returns whether a folder is a universal checkpoint.

  Args:
    folder: any folder.
  """
  return next(folder.glob(UNIVERSAL), None) is not None


def refuse_part(path: pathlib.Path) -> None:
  """Refuses a file that has no meaning without the other files.

  Args:
    path: file of any kind.

  Raises:
    ValueError: it is a part of a checkpoint.
  """
  match = NAME.fullmatch(path.name)
  if match and (match['rank'] or match['kind'] == 'optim'):
    raise ValueError(
      f'{path} must be a file with all weights, got a part of a checkpoint: '
      f'give {path.parent}'
    )


def parts(
  folder: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> list[pathlib.Path]:
  """Returns the files of a ZeRO checkpoint; [] if a folder holds none.

  Args:
    folder: folder of a checkpoint, or the folder above, with a text file
      `latest` that names it, or with accelerate's `pytorch_model`.
    say: receives a line if the folder above was given.

  Raises:
    ValueError: `latest` names no checkpoint.
  """
  if not folder.is_dir():
    return []
  if files := _parts_in(folder):
    return files
  latest = folder / 'latest'
  if latest.is_file() and folders(folder):
    with open(latest, 'rb') as file:
      tag = file.read(200).decode(errors='replace').strip()
    if not TAG.fullmatch(tag) or not _parts_in(folder / tag):
      raise ValueError(
        f'{latest} must name a DeepSpeed checkpoint beside it, got '
        f'{tag!r:.99}: copy that folder, too, or give another as SRC'
      )
  else:
    tag = 'pytorch_model'
  files = _parts_in(folder / tag)
  if files:
    say(f'{folder}: taking {tag}')
  return files


def folders(folder: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folders of ZeRO checkpoints in a folder, by name.

  Args:
    folder: any folder.
  """
  return sorted(path for path in _folders_in(folder) if _parts_in(path))


def _folders_in(folder) -> list[pathlib.Path]:
  return [path for path in folder.iterdir() if path.is_dir()]


def _parts_in(folder) -> list[pathlib.Path]:
  if not folder.is_dir() or is_universal(folder):
    return []
  return sorted(
    path for path in folder.iterdir() if is_part(path) and path.is_file()
  )


def read(
  files: list[pathlib.Path], say: Callable[[str], None] = lambda line: None
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
  folder = files[0].parent
  for path in files:
    if slice_of(path):
      raise ValueError(
        f'{folder} must come from a training without model parallelism, got '
        f'{path.name}: {WAY_ON}, or make a universal checkpoint of it with '
        "DeepSpeed's ds_to_universal"
      )
  models, optimizers = by_rank(folder, files)
  if not models:
    raise ValueError(
      f'{folder} must hold a file *mp_rank_00_model_states.pt, got '
      f'{files[0].name}: copy it from the machine of rank 0'
    )
  first = zero_state.open_file(models[min(models)])
  if not optimizers:
    return _without_zero(first, folder, say)
  opened = [
    zero_state.open_file(path) for _, path in sorted(optimizers.items())
  ]
  stage, ranks = zero_partitions.stage_and_ranks(opened[0])
  _check_ranks(folder, optimizers, ranks)
  if stage == 3:
    _check_ranks(folder, models, ranks)
    others = [zero_state.open_file(models[rank]) for rank in range(1, ranks)]
    weights = zero_partitions.of_parameters([first, *others], opened)
  else:
    weights = zero_partitions.of_groups(first, opened)
  names = [name for shapes in first.group_shapes() for name in shapes]
  kinds = ', '.join(sorted({str(weights[name].dtype) for name in names}))
  say(
    f'{folder.name}: DeepSpeed ZeRO {stage}, {ranks} rank(s): taking the '
    f'{kinds} weights of the optimizer, not those of the module'
  )
  return weights


def slice_of(path: pathlib.Path) -> int:
  """Returns the number of a file's slice in model parallelism, 0 without it.

  Args:
    path: file.
  """
  match = NAME.fullmatch(path.name)
  return int(match['slice']) if match else 0


def by_rank(
  folder: pathlib.Path, files: Sequence[pathlib.Path]
) -> tuple[dict[int, pathlib.Path], dict[int, pathlib.Path]]:
  """Returns (file with the module, file of the optimizer) by rank.

  Args:
    folder: folder of a checkpoint.
    files: its parts.

  Raises:
    ValueError: the files are not those of one training.
  """
  models, optimizers, types = {}, {}, set()
  for path in files:
    match = NAME.fullmatch(path.name)
    if not match:
      raise ValueError(
        f'{folder} must hold a DeepSpeed checkpoint that is not split by '
        f'layers or experts, got {path.name}: {WAY_ON}'
      )
    rank = int(match['rank'] or 0)
    if match['kind'] == 'model':
      other = models.setdefault(rank, path)
    else:
      other = optimizers.setdefault(rank, path)
      types.add(match['type'])
    if other != path:
      raise ValueError(
        f'{folder} must hold the files of one training, got {other.name} and '
        f'{path.name}: move the older files away'
      )
  if len(types) > 1:
    raise ValueError(
      f'{folder} must hold the files of one training, got '
      '*_optim_states.pt with and without bf16_ or fp16_: move the older files '
      'away'
    )
  return models, optimizers


def _check_ranks(folder, files, ranks: int) -> None:
  """Raises ValueError unless there is a file for every rank."""
  if sorted(files) == list(range(ranks)):
    return
  name = files[min(files)].name
  if missing := [str(rank) for rank in range(ranks) if rank not in files]:
    raise ValueError(
      f'{folder} must hold {ranks} files like {name}, without rank '
      f'{", ".join(missing):.60}: copy the missing files from the machines '
      'that trained these ranks'
    )
  raise ValueError(
    f'{folder} must hold {ranks} files like {name}, got {len(files)}: move the '
    f'files from rank {ranks} on away, which are of another training'
  )


def _without_zero(state, folder, say) -> dict[str, tensors.Tensor]:
  """Returns the weights of a checkpoint without files of the optimizer."""
  if state.has('param_shapes'):
    raise ValueError(
      f'{folder} must hold *_optim_states.pt of all ranks, which have the '
      f'float32 weights: copy them, or give {state.path} itself for the '
      'weights in the type of training'
    )
  weights = state.named_tensors('module')
  kinds = sorted({str(tensor.dtype) for tensor in weights.values()})
  say(
    f'{folder.name}: DeepSpeed without ZeRO: taking the weights of the module '
    f'({", ".join(kinds)})'
  )
  return weights
