"""Writes checkpoint folders of DeepSpeed's ZeRO by hand."""

import shutil
import struct

import numpy as np
import torch_files

RNG = np.random.default_rng(0)
# Trained weights. Their sizes are no multiples of the numbers of ranks in tests.
TRAINED = {
  'embed.weight': RNG.normal(size=(7, 5)).astype(np.float32),
  'mid.weight': RNG.normal(size=(3, 3)).astype(np.float32),
  'mid.bias': RNG.normal(size=3).astype(np.float32),
  'norm.weight': RNG.normal(size=5).astype(np.float32),
}
FROZEN = {'frozen.weight': RNG.normal(size=(2, 5)).astype(np.float32)}
BUFFERS = {'ids': np.arange(4)}
SHARED = {'head.weight': 'embed.weight'}
GROUPS = (('embed.weight', 'mid.weight'), ('mid.bias', 'norm.weight'))
# The weights that a folder stands for.
ARRAYS = BUFFERS | FROZEN | TRAINED | {'head.weight': TRAINED['embed.weight']}


class Code(bytes):
  """Opcodes of an object."""


def called(name: str, *arguments) -> Code:
  """Returns the opcodes of a call, e.g. of `torch Size`."""
  pickled = b''.join(encode(argument, {}) for argument in arguments)
  return Code(f'c{name.replace(" ", chr(10))}\n('.encode() + pickled + b'tR')


def encode(value, members) -> bytes:
  """Returns the opcodes of a value; members receives bytes of arrays."""
  if isinstance(value, Code):
    return bytes(value)
  if value is None:
    return b'N'
  if isinstance(value, bool):
    return b'\x88' if value else b'\x89'
  if isinstance(value, int):
    return b'J' + struct.pack('<i', value)
  if isinstance(value, str):
    return torch_files.text(value)
  if isinstance(value, np.ndarray):
    key = str(len(members))
    members[key] = value.tobytes()
    strides = [n // value.itemsize for n in value.strides]
    kind = torch_files.STORAGES[value.dtype]
    return torch_files.tensor(
      key, value.size, value.shape, strides, storage=kind
    )
  if isinstance(value, dict):
    items = [encode(k, members) + encode(v, members) for k, v in value.items()]
    return b'}(' + b''.join(items) + b'u'
  items = b''.join(encode(item, members) for item in value)
  return (
    b'](' + items + b'e' if isinstance(value, list) else b'(' + items + b't'
  )


def save(path, value) -> None:
  """Writes an object as `torch.save` would."""
  members = {}
  pickled = b'\x80\x02' + encode(value, members) + b'.'
  data = {f'data/{key}': data for key, data in members.items()}
  path.parent.mkdir(parents=True, exist_ok=True)
  torch_files.archive(
    path, pickled, {'byteorder': b'little', 'version': b'3\n'} | data
  )


def shapes(arrays) -> dict:
  """Returns shapes by name, as DeepSpeed saves them."""
  return {name: called('torch Size', a.shape) for name, a in arrays.items()}


def filled(vector, multiple) -> np.ndarray:
  """Returns a vector with zeros up to a multiple of a length."""
  return np.pad(vector, (0, -len(vector) % multiple))


def vectors(stage: int, ranks: int, rank: int) -> list[np.ndarray]:
  """Returns the float32 weights of a rank, a vector per group."""
  parts = []
  for names in GROUPS:
    arrays = [TRAINED[name].ravel() for name in names]
    if stage == 3:
      cut = [np.split(filled(a, ranks), ranks)[rank] for a in arrays]
      parts.append(np.concatenate(cut))
    else:
      joined = np.concatenate(arrays)
      part = np.split(filled(joined, 2 * ranks), ranks)[rank]
      # The last rank is saved without the zeros at the end.
      short = -len(joined) % (2 * ranks) if rank == ranks - 1 else 0
      parts.append(part[: max(0, len(part) - short)])
  return parts


def model_state(stage: int, ranks: int, rank: int) -> dict:
  """Returns what a file *_model_states.pt holds."""
  half = {
    name: a if name in BUFFERS else a.astype(torch_files.tensors.BFLOAT16)
    for name, a in ARRAYS.items()
  }
  fragments = FROZEN
  if stage == 3:
    half |= {name: half[name].ravel()[:0] for name in half if name != 'ids'}
    fragments = {
      name: np.split(filled(a.ravel(), ranks), ranks)[rank]
      for name, a in FROZEN.items()
    }
  else:
    half |= FROZEN
  return {
    'module': half,
    'buffer_names': list(BUFFERS),
    'optimizer': None,
    'param_shapes': [
      shapes({name: TRAINED[name] for name in names}) for names in GROUPS
    ],
    'frozen_param_shapes': shapes(FROZEN),
    'frozen_param_fragments': fragments,
    'shared_params': SHARED,
    'ds_config': {'zero_optimization': {'stage': stage}},
    # A program of the user's may save anything, too.
    'args': called('my_program.options Options', 'lr'),
  }


def optimizer_state(stage: int, ranks: int, rank: int) -> dict:
  """Returns what a file *_optim_states.pt holds."""
  enumeration = 'deepspeed.runtime.zero.config ZeroStageEnum'
  key = 'fp32_flat_groups' if stage == 3 else 'single_partition_of_fp32_groups'
  state = {
    'zero_stage': called(enumeration, stage),
    'partition_count': ranks if stage == 3 else [ranks, ranks],
    'loss_scaler': called('deepspeed.runtime.fp16.loss_scaler LossScaler'),
    'base_optimizer_state': {
      'state': {0: {'exp_avg': vectors(3, ranks, rank)[0]}}
    },
    key: vectors(stage, ranks, rank),
  }
  if stage != 3:
    state['param_alignment_paddings'] = [[0] * len(names) for names in GROUPS]
  return {'optimizer_state_dict': state, 'ds_version': '0.19.8'}


def write(
  folder, stage: int, ranks: int, prefix='', tag='global_step1'
) -> None:
  """Writes a checkpoint folder with its text file `latest`.

  Args:
    folder: folder of a training.
    stage: of ZeRO, 1 to 3.
    ranks: number of processes.
    prefix: of the optimizer's files, e.g. 'bf16_'.
    tag: name of the checkpoint.
  """
  for rank in range(ranks):
    part = f'zero_pp_rank_{rank}_mp_rank_00'
    save(
      folder / tag / f'{prefix}{part}_optim_states.pt',
      optimizer_state(stage, ranks, rank),
    )
    if stage == 3 or not rank:
      name = part if stage == 3 else 'mp_rank_00'
      save(
        folder / tag / f'{name}_model_states.pt',
        model_state(stage, ranks, rank),
      )
  (folder / 'latest').write_text(tag)


def write_universal(folder, stage: int, ranks: int) -> None:
  """Writes a universal checkpoint with its text file `latest_universal`.

  Args:
    folder: folder of a training.
    stage: of ZeRO, 1 to 3.
    ranks: number of processes.
  """
  write(folder / 'original', stage, ranks, tag='')
  tag = 'global_step1_universal'
  for path in sorted((folder / 'original').glob('*model_states.pt')):
    (folder / tag).mkdir(parents=True, exist_ok=True)
    path.rename(folder / tag / path.name)
  shutil.rmtree(folder / 'original')
  for name, array in TRAINED.items():
    value = array.ravel() if stage == 3 else {'param': array, 'cat_dim': 0}
    for key in ('fp32', 'exp_avg'):
      save(folder / tag / 'zero' / name / f'{key}.pt', value)
  if stage != 3:
    # The script rounds other parameters as the module does.
    for name in (*BUFFERS, *FROZEN, *SHARED):
      value = {'param': np.ones(3, np.float32)}
      save(folder / tag / 'zero' / name / 'fp32.pt', value)
  (folder / 'latest_universal').write_text(tag)


def slices_of(name: str, count: int) -> list[np.ndarray]:
  """Returns what each slice of model parallelism has of a trained weight."""
  array = TRAINED[name]
  if name == 'embed.weight':
    # Rows fill up the vocabulary.
    rows = np.concatenate([array, np.zeros((-len(array) % count, 5))])
    return np.split(rows.astype(np.float32), count)
  if name == 'mid.weight':
    parts = np.array_split(array, count, axis=1)
    return [np.ascontiguousarray(part) for part in parts]
  return [array] * count


def write_slices(folder, stage: int, count: int) -> None:
  """Writes a universal checkpoint of a training with model parallelism.

  Args:
    folder: folder of a training.
    stage: of ZeRO, 2 or 3, with one rank.
    count: number of slices.
  """
  write_universal(folder, stage, 1)
  prefix = 'zero_pp_rank_0_' if stage == 3 else ''
  for i in range(count):
    state = model_state(stage, 1, 0)
    sliced = {name: slices_of(name, count)[i] for name in TRAINED}
    state['param_shapes'] = [
      shapes({name: sliced[name] for name in names}) for names in GROUPS
    ]
    if stage != 3:
      state['module'] |= sliced | {'head.weight': sliced['embed.weight']}
    save(
      folder
      / 'global_step1_universal'
      / f'{prefix}mp_rank_{i:02d}_model_states.pt',
      state,
    )
  for name, array in TRAINED.items():
    path = folder / 'global_step1_universal' / 'zero' / name / 'fp32.pt'
    save(path, {'param': array, 'cat_dim': 0})
