"""Folders of torch.distributed.checkpoint come in bit for bit."""

import distributed_folders
import numpy as np
import pytest
import torch_files

from conversions.files import source

ARRAYS = torch_files.ARRAYS
FSDP = 'pytorch_model_fsdp_0'


def lines_of(path):
  """Reads ARRAYS at a path; returns the lines that the reader says."""
  lines = []
  torch_files.assert_same(source.find(str(path), lines.append).tensors, ARRAYS)
  return lines


@pytest.mark.parametrize('keys', [(), ('model',), ('app', 'model')])
@pytest.mark.parametrize('processes', [1, 2, 3, 5])
def test_the_parts_of_all_processes_are_joined(tmp_path, processes, keys):
  distributed_folders.write(tmp_path / FSDP, processes, keys=keys)
  listed = ', '.join(map(repr, keys))
  assert lines_of(tmp_path / FSDP) == (
    [f'{FSDP}: taking the tensors in {listed}'] if keys else []
  )


def test_the_files_that_hold_tensors_are_in_the_record(tmp_path):
  distributed_folders.write(tmp_path / 'run' / FSDP, 2)
  (tmp_path / 'run' / FSDP / '__7_0.distcp').write_bytes(b'of another run')
  weights = source.find(str(tmp_path / 'run'))
  assert weights.name == f'{tmp_path}/run/{FSDP}'
  assert list(weights.sums()) == ['.metadata', '__0_0.distcp', '__1_0.distcp']


@pytest.mark.parametrize(
  'folder, given',
  [
    # accelerate's save_state and transformers' Trainer.
    (f'checkpoint-4/{FSDP}', f'checkpoint-4/{FSDP}'),
    (f'checkpoint-4/{FSDP}', 'checkpoint-4'),
    (f'checkpoint-4/{FSDP}', ''),
    ('checkpoint-4/pytorch_model_0', ''),
    ('checkpoint-4/model', ''),
    # torch.distributed.checkpoint in a program of the user's.
    ('step-4', ''),
    ('weights-of-may', ''),
  ],
)
def test_each_layout_of_folders_is_read(tmp_path, folder, given):
  distributed_folders.write(tmp_path / folder, 2)
  other = {'exp_avg': ARRAYS['a.weight']}
  beside = tmp_path / 'checkpoint-4' / 'optimizer_0'
  if folder.startswith('checkpoint-4'):
    distributed_folders.write(beside, 2, other, ('optimizer', 'state'))
    for file in ('sampler.bin', 'scheduler.bin', 'dl_state_dict.bin'):
      (beside.parent / file).write_bytes(b'no weights')
  lines_of(tmp_path / given)


def test_the_newest_step_is_taken(tmp_path):
  other = {name: array + 1 for name, array in ARRAYS.items()}
  distributed_folders.write(tmp_path / 'step-9', 2)
  distributed_folders.write(tmp_path / 'step-8', 2, other)
  assert 'holds 2 checkpoints: taking step-9' in lines_of(tmp_path)[0]


def test_weights_of_two_models_are_named(tmp_path):
  for name in ('pytorch_model_fsdp_0', 'pytorch_model_fsdp_1'):
    distributed_folders.write(tmp_path / name, 1)
  torch_files.refused(tmp_path, f'2 folders: give .*/{FSDP}, or another')


@pytest.mark.parametrize('keys', [(), ('model',)])
def test_states_of_optimizers_are_left_out(tmp_path, keys):
  folder = tmp_path / 'step-1'
  fields = distributed_folders.state(ARRAYS, folder, 2, keys)
  for name in ('optim.state.a.exp_avg', 'rng.cpu'):
    array = ARRAYS['a.weight']
    boxes = distributed_folders.boxes_of(array, 2)
    record = distributed_folders.tensor_record(array, boxes)
    # Its parts have no files.
    fields['state_dict_metadata'][name] = record
    fields['planner_data'][name] = tuple(name.split('.'))
  distributed_folders.save_metadata(folder, fields)
  lines_of(folder)


def test_a_folder_of_an_optimizer_names_the_weights(tmp_path):
  distributed_folders.write(tmp_path / 'optimizer_0', 1, keys=('optimizer',))
  (tmp_path / 'optimizer_0').rename(tmp_path / 'states')
  output = 'the weights of a model, got no tensors or the states of an optim'
  torch_files.refused(tmp_path / 'states', output)


def test_two_models_in_a_folder_are_named(tmp_path):
  folder = tmp_path / 'step-1'
  fields = distributed_folders.state(ARRAYS, folder, 1)
  fields['planner_data']['model.b'] = ('ema', 'b')
  distributed_folders.save_metadata(folder, fields)
  torch_files.refused(folder, "got 'model', 'ema': .* of \\['model'\\]")


@pytest.mark.parametrize('file', ['.metadata', '__1_0.distcp'])
def test_a_file_alone_names_its_folder(tmp_path, file):
  distributed_folders.write(tmp_path / FSDP, 2)
  torch_files.refused(tmp_path / FSDP / file, f'give {tmp_path}/{FSDP}')


@pytest.mark.parametrize(
  'file, output',
  [
    ('__1_0.distcp', r'hold 3 files as .metadata says, without __1_0\.distcp:'),
    ('.metadata', r'must hold a file .metadata, got __0_0\.distcp without it'),
  ],
)
def test_a_missing_file_is_named(tmp_path, file, output):
  distributed_folders.write(tmp_path / FSDP, 3)
  (tmp_path / FSDP / file).unlink()
  torch_files.refused(tmp_path / FSDP, output)


def test_one_safetensors_file_a_process_is_read(tmp_path):
  """As FileSystemWriter with SerializationFormat.SAFETENSORS writes."""
  folder = tmp_path / FSDP
  fields = distributed_folders.state(ARRAYS, folder, 2, ())
  distributed_folders.save_metadata(folder, fields)
  distributed_folders.write_safetensors(tmp_path / 'x', 2)
  for rank, path in enumerate(sorted((tmp_path / 'x').iterdir())):
    path.rename(folder / f'__{rank}_0.distcp')
  lines_of(folder)


@pytest.mark.filterwarnings('ignore')
def test_what_torch_writes_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  checkpoint = pytest.importorskip('torch.distributed.checkpoint')
  module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
  optimizer = torch.optim.AdamW(module.parameters())
  module(torch.ones(1, 3)).sum().backward()
  optimizer.step()
  weights = module.state_dict()
  weights['half'] = torch.arange(6.0).reshape(2, 3).T.to(torch.bfloat16)
  weights['count'] = torch.tensor(3)
  saved = {'model': weights, 'optim': optimizer.state_dict(), 'step': 5}
  writer = checkpoint.FileSystemWriter(tmp_path / 'a', thread_count=2)
  checkpoint.save(saved, storage_writer=writer, no_dist=True)
  writer = checkpoint.HuggingFaceStorageWriter(
    str(tmp_path / 'b'), save_distributed=True
  )
  contiguous = {name: value.contiguous() for name, value in weights.items()}
  checkpoint.save(contiguous, storage_writer=writer, no_dist=True)
  for folder in ('a', 'b'):
    actual = source.find(str(tmp_path / folder)).tensors
    assert actual.keys() == weights.keys()
    for name, value in weights.items():
      array = actual[name].read().astype(np.float32)
      assert str(value.dtype) == f'torch.{actual[name].dtype}'
      np.testing.assert_array_equal(array, value.detach().float().numpy())
