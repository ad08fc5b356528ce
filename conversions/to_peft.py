"""Writes LoRA adapters of this library as a PEFT folder."""

from collections.abc import Callable
import json
import pathlib

import numpy as np

from conversions import from_peft
from conversions.files import destination
from conversions.files import layouts
from conversions.files import safetensors_file
from conversions.files import tensors
from conversions.tables import lora_table
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.models import lora
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

# 'format' is required by readers of PyTorch.
METADATA = {'format': 'pt', 'written_by': 'hermesflow_jax'}


def state_dict(adapters: lora.Adapters) -> dict[str, np.ndarray]:
  """Returns adapters under PEFT's names, sorted.

  Args:
    adapters: {target: {'a': [L, inputs, rank], 'b': [L, rank, outputs]}}.

  Returns:
    Name -> array, [rank, inputs] or [outputs, rank].
  """
  return dict(
    sorted(
      (lora_table.torch_name(target, layer, side), np.asarray(array).T)
      for target, pair in adapters.items()
      for side, stacked in pair.items()
      for layer, array in enumerate(stacked)
    )
  )


def peft_config(config: lora.Lora) -> dict:
  """Returns an `adapter_config.json` for adapters.

  Args:
    config: rank, scale and targets.
  """
  alpha = int(config.alpha) if config.alpha.is_integer() else config.alpha
  return {
    'peft_type': 'LORA',
    'task_type': None,
    'auto_mapping': None,
    'base_model_name_or_path': None,
    'revision': None,
    'inference_mode': True,
    'r': config.rank,
    'lora_alpha': alpha,
    'lora_dropout': 0.0,
    'bias': 'none',
    'fan_in_fan_out': False,
    'init_lora_weights': True,
    'target_modules': list(config.targets),
    'modules_to_save': None,
    'layers_to_transform': None,
    'layers_pattern': None,
    'rank_pattern': {},
    'alpha_pattern': {},
  }


def newest_adapters(
  name: str, say: Callable[[str], None] = lambda line: None
) -> str:
  """Returns a folder with adapters.

  Args:
    name: see `run_folder.newest_adapters`.
    say: receives a line that names the adapters of a run.

  Raises:
    ValueError: the folder holds no adapters.
  """
  folder, path = storage.path(name), run_folder.newest_adapters(name)
  if path is None:
    raise ValueError(
      f'{name} must hold adapters, or be a run that trained some '
      '(--config.play.lora.rank, --config.lora.rank), got none'
    )
  if path != folder:
    place = path.relative_to(folder)
    number = place.parts[0].removeprefix('round_')
    line = f'{name}: taking {place}'
    if number.isdecimal() and int(number) > 1:
      line += f', which belong to the model checkpoints/{int(number) - 1}'
    say(line)
  return str(path)


def write_folder(
  src: str,
  dst: str,
  *,
  dtype: str | None,
  overwrite: bool,
  console: terminal.Console,
) -> None:
  """Writes a PEFT folder.

  Args:
    src: adapters, see `newest_adapters`.
    dst: folder to create.
    dtype: dtype of the tensors; None for float32, which changes no bit.
    overwrite: whether to replace a folder that this function has written.
    console: receives progress.

  Raises:
    ValueError: `src` or `dst` is invalid; `dst` is unchanged.
  """
  with destination.new_folder(
    dst, overwrite, _is_written_here, console.say
  ) as folder:
    path = newest_adapters(src, console.say)
    config = lora_checkpoint.read_config(path)
    abstract = {}
    for name, shape in checkpoint.array_shapes(path).items():
      target, _, side = name.partition('/')
      abstract.setdefault(target, {})[side] = shape
    adapters = checkpoint.restore(
      path, abstract, trained_model.leaf_shardings(abstract)
    )
    stored = next(d for d in tensors.FLOATS if str(d) == (dtype or 'float32'))
    arrays = {
      name: array.astype(stored) for name, array in state_dict(adapters).items()
    }
    destination.check_space(folder, sum(a.nbytes for a in arrays.values()))
    folder.mkdir()
    safetensors_file.write(
      folder / layouts.ADAPTERS[0],
      {name: (array.shape, array.dtype) for name, array in arrays.items()},
      arrays.__getitem__,
      METADATA,
    )
    text = json.dumps(peft_config(config), indent=2, sort_keys=True) + '\n'
    (folder / from_peft.CONFIG).write_text(text)
    console.say(
      f'rank {config.rank}, alpha {config.alpha:g}, '
      f'targets {", ".join(config.targets)}'
    )


def _is_written_here(folder: pathlib.Path) -> bool:
  """Returns whether `write_folder` has written a folder."""
  names = {path.name for path in folder.iterdir()}
  if names != {from_peft.CONFIG, layouts.ADAPTERS[0]}:
    return False
  try:
    return safetensors_file.metadata(folder / layouts.ADAPTERS[0]) == METADATA
  except ValueError:
    return False
