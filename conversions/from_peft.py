"""Converts a PEFT folder with LoRA adapters to adapters of this library."""

from collections.abc import Callable
from collections.abc import Mapping
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from conversions import to_pytorch
from conversions import weight_table
from conversions.files import destination
from conversions.files import file_content
from conversions.files import layouts
from conversions.files import source
from conversions.tables import lora_table
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import lora_checkpoint
from hermesflow_jax.models import lora
from hermesflow_jax.runtime import strict_json
from hermesflow_jax.runtime import terminal

CONFIG = 'adapter_config.json'
WAY_ON = (
  'merge the adapters in PEFT (merge_and_unload), save the model, and convert '
  'it by KIND showo'
)
# Values of `adapter_config.json` that have no form here unless they are empty.
UNSUPPORTED = (
  'use_dora',
  'lora_bias',
  'fan_in_fan_out',
  'modules_to_save',
  'rank_pattern',
  'alpha_pattern',
  'trainable_token_indices',
  'target_parameters',
  'megatron_config',
)
# Initializations that change the model, not only the adapters.
CHANGED_BASE = ('pissa', 'olora', 'corda', 'loftq')


def read_config(record: Mapping[str, Any]) -> tuple[int, float]:
  """Returns (rank, alpha) from an `adapter_config.json`.

  Args:
    record: its content.

  Returns:
    The adapters add alpha / rank times their product to a kernel. With
    `use_rslora`, alpha is lora_alpha times the root of the rank.

  Raises:
    ValueError: lists all values that have no form here.
  """
  rank, alpha = record.get('r'), record.get('lora_alpha')
  faults = [
    f'{name} must be empty, got {record[name]!r:.80}'
    for name in UNSUPPORTED
    if record.get(name)
  ]
  if record.get('peft_type') != 'LORA':
    faults.append(
      f'peft_type must be LORA, got {record.get("peft_type")!r:.80}'
    )
  if record.get('bias', 'none') != 'none':
    faults.append(f"bias must be 'none', got {record['bias']!r:.80}")
  start = record.get('init_lora_weights')
  if isinstance(start, str) and start.lower().startswith(CHANGED_BASE):
    faults.append(
      f'init_lora_weights must keep the weights of the model, got {start!r:.80}'
    )
  if type(rank) is not int or rank < 1:
    faults.append(f'r must be at least 1, got {rank!r:.80}')
  if type(alpha) not in (int, float) or not 0 < alpha < float('inf'):
    faults.append(f'lora_alpha must be more than 0, got {alpha!r:.80}')
  if faults:
    raise ValueError(f'{"; ".join(faults)}: {WAY_ON}')
  return rank, float(alpha * rank**0.5 if record.get('use_rslora') else alpha)


def read_adapters(
  state_dict: Mapping[str, Any],
  rank: int,
  model,
  say: Callable[[str], None] = lambda line: None,
) -> lora.Adapters:
  """Builds adapters from PEFT's tensors.

  Args:
    state_dict: torch name -> tensor; see `lora_table`.
    rank: adapter rank.
    model: ShowO that the adapters belong to.
    say: receives a line for layers without adapters, which become zeros.

  Returns:
    {target: {'a': float32[L, inputs, rank], 'b': float32[L, rank, outputs]}}.

  Raises:
    ValueError: lists all tensors that are unknown or missing, or have a wrong
      shape or values.
  """
  layers, shapes = model.config.decoder.layers, {}
  for target in lora_table.MODULES:
    _, inputs, outputs = getattr(model.decoder.layers, target).kernel.shape
    shapes[target] = {'a': (inputs, rank), 'b': (rank, outputs)}
  adapters, faults, filled, names = {}, [], set(), set()
  usual = weight_table.common_dtype(state_dict)
  for name, tensor in state_dict.items():
    place = lora_table.parse(name)
    if place is None or place[1] >= layers:
      faults.append(f'surplus {name[:200]} {tuple(tensor.shape)}')
      continue
    target, layer, side, adapter_name = place
    names.add(adapter_name)
    if (target, layer, side) in filled:
      faults.append(f'{name[:200]}: this layer has adapters twice')
      continue
    shape = shapes[target][side]
    fault = weight_table.wrong_dtype(name, tensor.dtype, usual)
    if tuple(tensor.shape) != shape[::-1]:
      fault = f'{name}: shape must be {shape[::-1]}, got {tuple(tensor.shape)}'
    fault = fault or weight_table.not_finite(name, np.asarray(tensor))
    if fault:
      faults.append(fault)
      continue
    pair = adapters.setdefault(
      target,
      {
        s: np.zeros((layers, *n), np.float32) for s, n in shapes[target].items()
      },
    )
    pair[side][layer] = np.asarray(tensor).T
    filled.add((target, layer, side))
  for target, layer, side in sorted(filled):
    other = 'b' if side == 'a' else 'a'
    if (target, layer, other) not in filled:
      faults.append(f'missing {lora_table.torch_name(target, layer, other)}')
  if len(names) > 1:
    faults.append(f'names of adapters must be one, got {sorted(names)!r:.200}')
  if not state_dict:
    faults.append('no tensors')
  if faults:
    raise ValueError(weight_table.fault_list(faults, 'PEFT to JAX'))
  without = 2 * layers * len(adapters) - len(filled)
  if without:
    say(f'{without // 2} modules without adapters get adapters of zeros')
  return {
    target: {
      side: jnp.asarray(array) for side, array in adapters[target].items()
    }
    for target in lora_table.MODULES
    if target in adapters
  }


def write_adapters(
  src: str,
  dst: str,
  *,
  base: str | None,
  overwrite: bool,
  console: terminal.Console,
) -> None:
  """Converts a PEFT folder and writes adapters for `--config.adapters`.

  Args:
    src: PEFT folder, or a hub id.
    dst: folder to create.
    base: model of this library that the adapters belong to; see
      `to_pytorch.load_jax_model`.
    overwrite: whether to replace adapters at `dst` that this function wrote.
    console: receives progress.

  Raises:
    ValueError: `src`, `dst` or `base` is invalid; `dst` is unchanged.
  """
  if not base:
    raise ValueError(
      '--base must be the model of this library that the adapters belong to '
      '(e.g. checkpoints/show_o_256), got none'
    )
  with destination.new_folder(
    dst, overwrite, _is_converted, console.say
  ) as folder:
    path, name = source.local_path(src, console.say)
    file = _weights(path)
    config_file = file.parent / CONFIG
    file_content.refuse_other_content(config_file)
    try:
      rank, alpha = read_config(strict_json.load(config_file))
    except ValueError as error:
      raise ValueError(f'{config_file}: {error}') from error
    model, _ = to_pytorch.load_jax_model('showo', base, None, console.say)
    state_dict = source.read_file(file, console.say)
    adapters = read_adapters(state_dict, rank, model, console.say)
    config = lora.Lora(rank=rank, alpha=alpha, targets=tuple(adapters))
    console.say(
      f'rank {rank}, alpha {alpha:g}, targets {", ".join(config.targets)}'
    )
    destination.check_space(
      folder, sum(a.nbytes for a in jax.tree.leaves(adapters))
    )
    lora_checkpoint.save_adapters(
      str(folder), adapters, config, model, source=name
    )


def _weights(path: pathlib.Path) -> pathlib.Path:
  """Returns the file with the adapters of a PEFT folder."""
  folder = path if path.is_dir() else path.parent
  files = [folder / name for name in layouts.ADAPTERS]
  if not path.is_dir():
    files = [path]
  for file in files:
    if file.is_file() and (folder / CONFIG).is_file():
      return file
  raise ValueError(
    f'{path} must be a PEFT folder with {CONFIG} and '
    f'{" or ".join(layouts.ADAPTERS)}, got '
    + (', '.join(sorted(p.name for p in folder.iterdir()))[:200] or 'nothing')
  )


def _is_converted(folder: pathlib.Path) -> bool:
  """Returns whether `write_adapters` has written a folder."""
  try:
    return {'lora', 'source'} <= set(checkpoint.read_metadata(str(folder)))
  except ValueError:
    return False
