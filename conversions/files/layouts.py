"""Finds the weights in a folder, in the layouts that PyTorch programs write.

a file, or an index of shards           save_pretrained, the hub
shards without an index                 incomplete copies
unwrapped_model/, checkpoint-<step>/    accelerate, the official training
parts of ranks, see `zero_checkpoint`   DeepSpeed
a folder for each parameter, see `universal_checkpoint`    DeepSpeed
parts of processes, see `distributed_checkpoint`           FSDP
the same as safetensors, see `distributed_shards`          FSDP
the same as pickles, see `rank_files`                      accelerate
"""

from collections.abc import Callable
import pathlib
import re

from conversions.files import distributed_checkpoint
from conversions.files import distributed_shards
from conversions.files import folder_content
from conversions.files import rank_files
from conversions.files import universal_checkpoint
from conversions.files import zero_checkpoint
from hermesflow_jax.runtime import user_text

SUFFIXES = ('.safetensors', '.bin', '.pt', '.pth', '.ckpt')
# The first existing file of a folder is read.
IN_FOLDERS = (
  'model.safetensors.index.json',
  'model.safetensors',
  'diffusion_pytorch_model.safetensors.index.json',
  'diffusion_pytorch_model.safetensors',
  'pytorch_model.safetensors.index.json',
  'pytorch_model.safetensors',
  'pytorch_model.bin.index.json',
  'pytorch_model.bin',
  'diffusion_pytorch_model.bin.index.json',
  'diffusion_pytorch_model.bin',
)
ADAPTERS = ('adapter_model.safetensors', 'adapter_model.bin')
SHARD = re.compile(r'(.+)-(\d+)-of-(\d+)((?:\.\w+){1,2})')
# Indexes as save_pretrained names them, also those of a variant, e.g. fp16.
INDEX = re.compile(r'.+\.(index|\w+\.index|index\.\w+)\.json')
STEP = re.compile(
  r'(?:checkpoint|step|global_step|epoch|iter)[-_]?(\d+)(?:_universal)?'
)
# Files that training programs write beside the weights.
NOT_WEIGHTS = re.compile(
  r'optimizer|scheduler|scaler|random_states|rng_state|training_args|adapter_|'
  r'optim_states|model_states|^sampler|^dl_state_dict|custom_checkpoint'
)
# name pattern: description of a folder with such files, with the way to its
# weights. Folders within it are searched, too.
OTHER_FORMS = {
  'adapter_config.json': (
    'a PEFT folder with LoRA adapters: convert it with KIND lora and --base'
  ),
  '_CHECKPOINT_METADATA': (
    'a model of this library; with --reverse it becomes PyTorch weights'
  ),
}
DEPTHS = ('', '*/', '*/*/')


def is_index(path: pathlib.Path) -> bool:
  """Returns whether a file's name is that of an index of shards.

  Args:
    path: file.
  """
  return bool(INDEX.fullmatch(path.name)) and path.is_file()


def weight_files(
  folder: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> list[pathlib.Path]:
  """Returns the file with weights in a folder, an index, or all shards.

  Args:
    folder: folder with weights, or with folders `checkpoint-<step>`, of which
      the newest with weights is taken.
    say: receives a line for a choice that the folder's name does not imply.

  Raises:
    ValueError: the folder holds no weights, or weights to choose from. The
      one-line message names them.
  """
  files = _in_folder(folder, say)
  if files:
    _name_float32(folder, files[0], say)
    return files
  for name in ('unwrapped_model', 'pytorch_model'):
    if files := _in_folder(folder / name, say):
      say(f'{folder}: taking {name}')
      return files
  if files := _in_ranks(folder, say) or universal_checkpoint.newest(
    folder, say
  ):
    return files
  if files := _in_steps(folder, say) or _in_snapshots(folder, say):
    return files
  for pattern, form in OTHER_FORMS.items():
    paths = (path for depth in DEPTHS for path in folder.glob(depth + pattern))
    if path := next(paths, None):
      form = form.format(folder=path.parent)
      raise ValueError(f'{folder} must hold PyTorch weights, got {form}')
  if files := _in_parts(folder, say):
    return files
  raise ValueError(
    f'{folder} must hold one of {", ".join(IN_FOLDERS)}, got '
    + folder_content.describe(folder, IN_FOLDERS)
  )


def _in_ranks(folder, say) -> list[pathlib.Path]:
  """Returns the files into which processes save their parts."""
  return (
    universal_checkpoint.parts(folder)
    or zero_checkpoint.parts(folder, say)
    or distributed_checkpoint.parts(folder, say)
  )


def _name_float32(folder, taken, say) -> None:
  """Names the checkpoint of DeepSpeed beside weights that are taken."""
  if others := zero_checkpoint.folders(folder):
    say(
      f'{folder}: taking {taken.name}; the float32 weights of the optimizer '
      f'are in {others[-1].name}, give that folder for them'
    )


def _in_steps(folder, say) -> list[pathlib.Path]:
  """Returns the weights of the newest `checkpoint-<step>`; [] without any."""
  steps = {}
  for path in folder.iterdir():
    if path.is_dir() and (match := STEP.fullmatch(path.name)):
      steps.setdefault(int(match[1]), []).append(path)
  without = []
  for number in sorted(steps, reverse=True):
    for path in sorted(steps[number]):
      files = (
        _in_folder(path, say)
        or _in_folder(path / 'unwrapped_model', say)
        or _in_ranks(path, say)
        or universal_checkpoint.newest(path, say)
      )
      if files:
        if files[0].parent == path:
          _name_float32(path, files[0], say)
        count = user_text.counted(len(steps), 'checkpoint')
        text = f'{folder} holds {count}: taking {path.name}'
        if without:
          text += f' ({", ".join(without)} without weights)'
        say(text)
        return files
      without.append(path.name)
  return []


def _in_snapshots(folder, say) -> list[pathlib.Path]:
  """Returns the weights of a model in the hub's cache; [] if it is no such."""
  main = folder / 'refs' / 'main'
  if not main.is_file():
    return []
  revision = main.read_text().strip()
  if not re.fullmatch(r'[0-9a-f]{7,64}', revision):
    return []
  files = _in_folder(folder / 'snapshots' / revision, say)
  if files:
    say(f'{folder}: taking revision {revision}')
  return files


def _in_parts(folder, say) -> list[pathlib.Path]:
  """Returns the weights of the only folder with some; [] without any."""
  parts = [
    path.name
    for path in sorted(folder.iterdir())
    if path.is_dir()
    and (
      any((path / name).is_file() for name in IN_FOLDERS)
      or distributed_checkpoint.holds_model(path)
    )
  ]
  if len(parts) > 1:
    raise ValueError(
      f'{folder} must hold the weights of one model, got {len(parts)} folders: '
      f'give {folder}/{parts[0]}, or {", ".join(parts[1:]):.200}'
    )
  if not parts:
    return []
  say(f'{folder}: taking {parts[0]}')
  return _in_folder(folder / parts[0], say) or distributed_checkpoint.parts(
    folder / parts[0], say
  )


def _in_folder(folder, say) -> list[pathlib.Path]:
  """Returns the weights that lie in a folder itself; [] without any."""
  if not folder.is_dir():
    return []
  usual = [name for name in IN_FOLDERS if (folder / name).is_file()]
  if usual:
    others = usual[1:] + [
      name
      for name in _weights_by_suffix(folder)
      if name not in usual and not SHARD.fullmatch(name)
    ]
    if others:
      say(f'{folder}: taking {usual[0]}, not {", ".join(others):.200}')
    return [folder / usual[0]]
  if files := distributed_shards.parts(folder) or _index(folder, say):
    return files
  if files := rank_files.parts(folder, say):
    return files
  names = _weights_by_suffix(folder)
  if files := _shards(folder, names):
    count = user_text.counted(len(files), 'shard')
    say(f'{folder}: taking {count}, which have no index')
    return files
  if len(names) > 1:
    raise ValueError(
      f'{folder} must hold the weights of one model, got {len(names)} files: '
      f'give one of {", ".join(names):.300}'
    )
  if names:
    say(f'{folder}: taking {names[0]}')
  return [folder / name for name in names]


def _index(folder, say) -> list[pathlib.Path]:
  """Returns the index of a variant's shards; [] without any."""
  paths = sorted(path for path in folder.iterdir() if is_index(path))
  if len(paths) > 1:
    raise ValueError(
      f'{folder} must hold the weights of one model, got {len(paths)} indexes '
      f'of shards: give one of {", ".join(path.name for path in paths):.300}'
    )
  for path in paths:
    say(f'{folder}: taking {path.name}')
  return paths


def _weights_by_suffix(folder) -> list[str]:
  """Returns the names of files that may hold weights, sorted."""
  return sorted(
    path.name
    for path in folder.iterdir()
    if path.suffix in SUFFIXES
    and path.is_file()
    and not path.name.startswith('.')
    and not NOT_WEIGHTS.search(path.name)
  )


def _shards(folder, names) -> list[pathlib.Path]:
  """Returns a set of shards without an index; [] if a file is no shard."""
  matches = [SHARD.fullmatch(name) for name in names]
  if not names or not all(matches):
    return []
  sets = {(match[1], match[3], match[4]) for match in matches}
  if len(sets) > 1:
    return []
  expected = int(matches[0][3])
  if {int(match[2]) for match in matches} != set(range(1, expected + 1)):
    raise ValueError(
      f'{folder} must hold {expected} shards, got {", ".join(names):.300}'
    )
  return [folder / name for name in names]
