"""Checkpoint folders of DeepSpeed's ZeRO come in bit for bit, in float32."""

import pathlib
import shutil

import numpy as np
import pytest
import torch_files
import zero_folders

from conversions.files import source
from conversions.files import zero_state

STEP = 'global_step1'


def lines_of(path):
  """Reads ARRAYS at a path; returns the lines that the reader says."""
  lines = []
  actual = source.find(str(path), lines.append).tensors
  torch_files.assert_same(actual, zero_folders.ARRAYS)
  return lines


@pytest.mark.parametrize('prefix', ['', 'bf16_'])
@pytest.mark.parametrize('ranks', [1, 2, 3, 8])
@pytest.mark.parametrize('stage', [1, 2, 3])
def test_the_weights_of_all_ranks_are_joined(tmp_path, stage, ranks, prefix):
  zero_folders.write(tmp_path, stage, ranks, prefix)
  first, second = lines_of(tmp_path)
  assert first == f'{tmp_path}: taking {STEP}'
  assert f': DeepSpeed ZeRO {stage}, {ranks} rank(s): taking the' in second
  assert 'float32 weights of the optimizer, not those of the module' in second


def test_all_files_are_in_the_record(tmp_path):
  zero_folders.write(tmp_path, 3, 2)
  weights = source.find(str(tmp_path))
  assert weights.name == f'{tmp_path}/{STEP}'
  names = sorted(path.name for path in (tmp_path / STEP).iterdir())
  assert sorted(weights.sums()) == names


@pytest.mark.parametrize(
  'tag, given, latest',
  [
    # DeepSpeed's own, transformers' Trainer and accelerate's save_state.
    (STEP, STEP, True),
    (STEP, '', False),
    (f'checkpoint-1/{STEP}', '', True),
    (f'checkpoint-1/{STEP}', 'checkpoint-1', True),
    ('pytorch_model', '', True),
    ('pytorch_model', '', False),
    ('checkpoint-9/pytorch_model', '', False),
    ('model-of-may', '', True),
  ],
)
def test_each_layout_of_folders_is_read(tmp_path, tag, given, latest):
  folder = (tmp_path / tag).parent
  zero_folders.write(folder, 2, 2, tag=pathlib.Path(tag).name)
  if not latest:
    (folder / 'latest').unlink()
  lines_of(tmp_path / given)


def test_the_file_latest_decides(tmp_path):
  zero_folders.write(tmp_path, 2, 2)
  for path in ('global_step0', 'global_step3'):
    shutil.copytree(tmp_path / STEP, tmp_path / path)
  assert lines_of(tmp_path)[0] == f'{tmp_path}: taking {STEP}'
  (tmp_path / 'latest').unlink()
  assert 'taking global_step3' in lines_of(tmp_path)[-2]
  for tag in ('global_step7', '../other', ''):
    (tmp_path / 'latest').write_text(tag)
    torch_files.refused(tmp_path, 'latest must name a DeepSpeed checkpoint')


@pytest.mark.parametrize('given', ['', 'checkpoint-1'])
def test_weights_beside_it_are_taken_as_before(tmp_path, given):
  """As transformers' Trainer writes them; the line names the other folder."""
  folder = tmp_path / 'checkpoint-1'
  zero_folders.write(folder, 2, 1)
  torch_files.save(folder / 'pytorch_model.bin', torch_files.ARRAYS)
  lines = []
  actual = source.find(str(tmp_path / given), lines.append).tensors
  torch_files.assert_same(actual, torch_files.ARRAYS)
  assert f'are in {STEP}, give that folder for them' in lines[0]


def test_without_zero_the_module_is_taken(tmp_path):
  state = zero_folders.model_state(2, 1, 0) | {'param_shapes': None}
  path = tmp_path / STEP / 'mp_rank_00_model_states.pt'
  zero_folders.save(path, state)
  lines = []
  actual = source.find(str(tmp_path), lines.append).tensors
  torch_files.assert_same(actual, state['module'])
  assert 'without ZeRO: taking the weights of the module (bf' in lines[1]


@pytest.mark.parametrize(
  'stage, file, output',
  [
    (2, 'zero_pp_rank_1_mp_rank_00_optim', 'without rank 1: copy the missing'),
    (3, 'zero_pp_rank_0_mp_rank_00_optim', 'without rank 0: copy the missing'),
    (3, 'zero_pp_rank_2_mp_rank_00_model', 'without rank 2: copy the missing'),
    (2, 'mp_rank_00_model', 'must hold a file .*mp_rank_00_model_states.pt'),
  ],
)
def test_a_missing_rank_is_named(tmp_path, stage, file, output):
  zero_folders.write(tmp_path, stage, 3)
  (tmp_path / STEP / f'{file}_states.pt').unlink()
  torch_files.refused(tmp_path, output)


def test_a_folder_without_its_optimizer_names_the_half_weights(tmp_path):
  zero_folders.write(tmp_path, 2, 1)
  (tmp_path / STEP / 'zero_pp_rank_0_mp_rank_00_optim_states.pt').unlink()
  torch_files.refused(tmp_path, 'give .*mp_rank_00_model_states.pt itself')


@pytest.mark.parametrize(
  'file, output',
  [
    ('zero_pp_rank_2_mp_rank_00_optim_states.pt', 'must hold 2 files .* got 3'),
    ('bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt', 'of one training'),
    ('mp_rank_01_model_states.pt', 'without model parallelism, got mp_rank_01'),
    ('layer_00-model_00-model_states.pt', 'split by layers or experts'),
    ('expp_rank_0_mp_rank_00_optim_states.pt', 'split by layers or experts'),
  ],
)
def test_files_of_another_training_are_named(tmp_path, file, output):
  zero_folders.write(tmp_path, 2, 2)
  first = tmp_path / STEP / 'zero_pp_rank_0_mp_rank_00_optim_states.pt'
  shutil.copy(first, tmp_path / STEP / file)
  torch_files.refused(tmp_path, output)


@pytest.mark.parametrize('stage', [2, 3])
@pytest.mark.parametrize(
  'key, value, output',
  [
    ('param_shapes', [{'mid.bias': (3,)}], 'must have'),
    ('param_shapes', [{'mid.bias': (3,)}, {'a': 'b'}], 'have shapes by name'),
    ('param_shapes', 'no list', 'must have a list at param_shapes, got str'),
    (
      'param_shapes',
      [{'x': (10**9, 4), 'y': ()}, {'z': (), 'w': ()}],
      'not of one checkpoint',
    ),
    ('module', None, 'must have a dict at module, got nothing'),
  ],
)
def test_shapes_that_do_not_add_up_are_refused(
  tmp_path, stage, key, value, output
):
  zero_folders.write(tmp_path, stage, 2)
  (path,) = (
    (tmp_path / STEP).glob('*00_model_states.pt')
    if stage == 2
    else [tmp_path / STEP / 'zero_pp_rank_0_mp_rank_00_model_states.pt']
  )
  path.unlink()
  state = zero_folders.model_state(stage, 2, 0)
  zero_folders.save(path, state | {key: value})
  torch_files.refused(tmp_path, output)


@pytest.mark.parametrize(
  'stage, key, value, output',
  [
    (2, 'zero_stage', 4, 'of ZeRO 1, 2 or 3 .* got stage 4'),
    (2, 'partition_count', [0], r'got stage 2 and \[0\] ranks'),
    (2, 'partition_count', None, 'got stage 2 and None ranks'),
    (2, 'single_partition_of_fp32_groups', [], 'must have 2 groups'),
    (2, 'param_alignment_paddings', [[0, 0]], 'a count per parameter'),
    (3, 'fp32_flat_groups', [np.zeros(2, np.float32)], 'not of one checkpoint'),
    (3, 'fp32_flat_groups', [np.zeros((2, 2), np.float32)], 'have vectors at'),
  ],
)
def test_a_damaged_optimizer_is_refused(tmp_path, stage, key, value, output):
  zero_folders.write(tmp_path, stage, 1)
  path = tmp_path / STEP / 'zero_pp_rank_0_mp_rank_00_optim_states.pt'
  state = zero_folders.optimizer_state(stage, 1, 0)
  state['optimizer_state_dict'][key] = value
  path.unlink()
  zero_folders.save(path, state)
  torch_files.refused(tmp_path, output)


def test_zeros_between_parameters_are_skipped(tmp_path):
  zero_folders.write(tmp_path, 2, 1)
  path = tmp_path / STEP / 'zero_pp_rank_0_mp_rank_00_optim_states.pt'
  state = zero_folders.optimizer_state(2, 1, 0)
  inner = state['optimizer_state_dict']
  first = inner['single_partition_of_fp32_groups'][0]
  inner['single_partition_of_fp32_groups'][0] = np.insert(
    first, 35, np.full(3, np.nan, np.float32)
  )
  inner['param_alignment_paddings'][0] = [3, 0]
  path.unlink()
  zero_folders.save(path, state)
  lines_of(tmp_path)


@pytest.mark.parametrize('stage', [2, 3])
@pytest.mark.parametrize('kind', ['model', 'optim'])
def test_objects_of_unknown_types_are_not_made(
  tmp_path, monkeypatch, stage, kind
):
  monkeypatch.chdir(tmp_path)
  zero_folders.write(tmp_path / 'run', stage, 1)
  harm = zero_folders.called('os system', 'touch harm')
  name = 'zero_pp_rank_0_mp_rank_00'
  if kind == 'model':
    state = zero_folders.model_state(stage, 1, 0) | {'lr_scheduler': harm}
    name = name if stage == 3 else 'mp_rank_00'
  else:
    state = zero_folders.optimizer_state(stage, 1, 0)
    state['optimizer_state_dict']['loss_scaler'] = harm
  path = tmp_path / 'run' / STEP / f'{name}_{kind}_states.pt'
  path.unlink()
  zero_folders.save(path, state)
  lines_of(tmp_path / 'run')
  assert [file.name for file in tmp_path.iterdir()] == ['run']


@pytest.mark.parametrize(
  'kind, stage', [('model', 3), ('optim', 2), ('optim', 3)]
)
def test_a_part_alone_names_its_folder(tmp_path, kind, stage):
  zero_folders.write(tmp_path, stage, 2)
  path = tmp_path / STEP / f'zero_pp_rank_0_mp_rank_00_{kind}_states.pt'
  torch_files.refused(path, f'a part of a checkpoint: give {path.parent}')


def test_the_module_alone_is_still_read(tmp_path):
  zero_folders.write(tmp_path, 2, 2)
  path = tmp_path / STEP / 'mp_rank_00_model_states.pt'
  state = zero_folders.model_state(2, 2, 0) | {'args': None}
  path.unlink()
  zero_folders.save(path, {'module': state['module'], 'optimizer': None})
  torch_files.assert_same(source.find(str(path)).tensors, state['module'])


def test_torch_reads_the_folders_of_these_tests(tmp_path):
  torch = pytest.importorskip('torch')
  zero_folders.save(
    tmp_path / 'x.pt', zero_folders.model_state(2, 2, 0) | {'args': None}
  )
  state = torch.load(tmp_path / 'x.pt', weights_only=True)
  assert state['param_shapes'][0]['embed.weight'] == torch.Size((7, 5))
  actual = state['frozen_param_fragments']['frozen.weight'].numpy()
  np.testing.assert_array_equal(actual, zero_folders.FROZEN['frozen.weight'])


def test_parameters_that_torch_saves_with_attributes_are_read(tmp_path):
  """ZeRO 3 sets attributes of its tensors, which torch.save keeps."""
  torch = pytest.importorskip('torch')
  vector = torch.arange(6.0)
  vector.ds_id = 3
  torch.save({'groups': [vector]}, tmp_path / 'x.pt')
  state = zero_state.open_file(tmp_path / 'x.pt')
  (actual,) = state.vectors('groups')
  np.testing.assert_array_equal(actual.read(), vector.numpy())
