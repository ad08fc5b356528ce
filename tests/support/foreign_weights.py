"""Valid models, weights and checkpoints, and the readers of strangers' ones."""

import functools
import json
import shutil

import distributed_folders
import jax
import numpy as np
import rank_folders
import safetensors.numpy
import torch_files
import zero_folders

from conversions.files import source
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.sequences import text_tokenizer

# (stage of ZeRO, file) of a folder of DeepSpeed.
ZERO_FILES = (
  (2, 'latest'),
  (2, 'global_step1/mp_rank_00_model_states.pt'),
  (2, 'global_step1/zero_pp_rank_1_mp_rank_00_optim_states.pt'),
  (3, 'global_step1/zero_pp_rank_1_mp_rank_00_model_states.pt'),
  (3, 'global_step1/zero_pp_rank_0_mp_rank_00_optim_states.pt'),
)


# The same of a universal checkpoint.
UNIVERSAL_FILES = (
  (2, 'latest_universal'),
  (2, 'global_step1_universal/mp_rank_00_model_states.pt'),
  (2, 'global_step1_universal/zero/mid.bias/fp32.pt'),
  (3, 'global_step1_universal/zero/mid.weight/fp32.pt'),
)
DISTRIBUTED = 'pytorch_model_fsdp_0'
DISTRIBUTED_FILES = (
  f'{DISTRIBUTED}/.metadata',
  f'{DISTRIBUTED}/__0_0.distcp',
  'shard-00002-model-00001-of-00001.safetensors',
)
# A file of a process, by the way in which FSDP divides tensors.
RANK_FILES = {'FSDP1': rank_folders.sharded, 'FSDP2': rank_folders.dtensor}


def write_universal(folder, stage: int) -> None:
  """Writes a universal checkpoint of DeepSpeed."""
  zero_folders.write_universal(folder, stage, 2)


def write_distributed(folder, file: str) -> None:
  """Writes a folder of torch.distributed.checkpoint that has a file."""
  if file.endswith('.safetensors'):
    distributed_folders.write_safetensors(folder, 2)
  else:
    distributed_folders.write(folder / DISTRIBUTED, 2)


def write_ranks(folder, kind) -> None:
  """Writes the files of two processes of FSDP."""
  rank_folders.write(folder, 2, kind=kind)


def write_zero(folder, stage: int) -> None:
  """Writes a checkpoint folder of DeepSpeed."""
  zero_folders.write(folder, stage, 2)


def write_safetensors(folder) -> None:
  """Writes a safetensors file."""
  arrays = {
    name: np.asarray(array, np.float32)
    for name, array in torch_files.ARRAYS.items()
  }
  safetensors.numpy.save_file(arrays, folder / 'model.safetensors')


def write_torch(folder) -> None:
  """Writes a `pytorch_model.bin`."""
  torch_files.save(folder / 'pytorch_model.bin', torch_files.ARRAYS)


def write_index(folder) -> None:
  """Writes a shard with its index."""
  shard = 'model-00001-of-00001.safetensors'
  write_safetensors(folder)
  (folder / 'model.safetensors').rename(folder / shard)
  places = dict.fromkeys(torch_files.ARRAYS, shard)
  (folder / 'model.safetensors.index.json').write_text(
    json.dumps({'metadata': {}, 'weight_map': places})
  )


def read_weights(folder) -> None:
  """Reads all tensors."""
  for tensor in source.find(str(folder)).tensors.values():
    tensor.read()


def write_bundle(folder) -> None:
  """Copies the shipped bundle."""
  for path in sorted((initial_model.ASSETS / 'shapes').iterdir()):
    if path.is_file():
      shutil.copy(path, folder / path.name)


def write_text_tokenizer(folder) -> None:
  """Copies the shipped text tokenizer."""
  shutil.copy(initial_model.ASSETS / 'shapes' / 'text.json', folder)


def read_text_tokenizer(folder) -> None:
  """Loads and uses the text tokenizer."""
  text = text_tokenizer.load(str(folder / 'text.json'))
  for row in text.encode(['a red ring', 'a blue star']):
    text.decode(row)


def write_peft(folder) -> None:
  """Writes the config of a PEFT folder."""
  record = {'peft_type': 'LORA', 'r': 4, 'lora_alpha': 8, 'bias': 'none'}
  (folder / 'adapter_config.json').write_text(json.dumps(record))


def write_checkpoint(folder) -> None:
  """Saves a small checkpoint."""
  tree = {'a': jax.numpy.arange(3.0)}
  checkpoint.save(str(folder / 'saved'), tree, {'step': 1})


def read_checkpoint(folder) -> None:
  """Restores the checkpoint."""
  path = str(folder / 'saved')
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  checkpoint.read_metadata(path)
  shapes = {'a': jax.ShapeDtypeStruct((3,), np.float32)}
  checkpoint.restore(path, shapes, {'a': device})


def _forms():
  """Yields (kind of checkpoint, damaged file, function that writes all)."""
  for stage, file in ZERO_FILES:
    write = functools.partial(write_zero, stage=stage)
    yield f'ZeRO {stage}', file, write
  for stage, file in UNIVERSAL_FILES:
    write = functools.partial(write_universal, stage=stage)
    yield f'universal {stage}', file, write
  for file in DISTRIBUTED_FILES:
    yield 'distributed', file, functools.partial(write_distributed, file=file)
  for name, kind in RANK_FILES.items():
    write = functools.partial(write_ranks, kind=kind)
    yield name, rank_folders.NAME.format(1), write


# Checkpoints of several files, by the file that is damaged.
FORMS = {
  f'{kind} {file.rpartition("/")[2]}': (file, write, read_weights)
  for kind, file, write in _forms()
}
