"""Universal checkpoints of DeepSpeed come in bit for bit, in float32."""

import numpy as np
import pytest
import torch_files
import zero_folders

from conversions.files import source

TAG = 'global_step1_universal'


def lines_of(path):
  """Reads ARRAYS at a path; returns the lines that the reader says."""
  lines = []
  actual = source.find(str(path), lines.append).tensors
  torch_files.assert_same(actual, zero_folders.ARRAYS)
  return lines


@pytest.mark.parametrize('ranks', [1, 3])
@pytest.mark.parametrize('stage', [1, 2, 3])
def test_the_weights_of_all_parameters_are_read(tmp_path, stage, ranks):
  zero_folders.write_universal(tmp_path, stage, ranks)
  first, second = lines_of(tmp_path)
  assert first == f'{tmp_path}: taking {TAG}'
  assert f'{TAG}: universal checkpoint of DeepSpeed: taking the fl' in second
  assert lines_of(tmp_path / TAG) == [second]


@pytest.mark.parametrize('given', ['', 'checkpoint-1'])
def test_it_is_read_within_folders_of_steps(tmp_path, given):
  zero_folders.write_universal(tmp_path / 'checkpoint-1', 2, 2)
  lines_of(tmp_path / given)
  (tmp_path / 'checkpoint-1' / 'latest_universal').unlink()
  lines_of(tmp_path / 'checkpoint-1')


def test_the_checkpoint_that_latest_names_comes_first(tmp_path):
  zero_folders.write_universal(tmp_path, 2, 2)
  zero_folders.write(tmp_path, 2, 2)
  assert lines_of(tmp_path)[0] == f'{tmp_path}: taking global_step1'
  zero_folders.write(tmp_path / 'x', 2, 2)
  (tmp_path / 'x' / TAG).symlink_to(tmp_path / TAG)
  (tmp_path / 'x' / 'latest').write_text(TAG)
  torch_files.refused(tmp_path / 'x', 'latest must name a DeepSpeed checkp')


@pytest.mark.parametrize('tag', ['', '../x', 'global_step7_universal'])
def test_a_name_of_no_checkpoint_is_refused(tmp_path, tag):
  zero_folders.write_universal(tmp_path, 2, 1)
  (tmp_path / 'latest_universal').write_text(tag)
  torch_files.refused(tmp_path, 'must name a universal checkpoint beside it')


def test_all_files_are_in_the_record(tmp_path):
  zero_folders.write_universal(tmp_path, 3, 2)
  sums = source.find(str(tmp_path)).sums()
  assert len(sums) == 2 + len(zero_folders.TRAINED)
  assert 'zero/embed.weight/fp32.pt' in sums


@pytest.mark.parametrize(
  'stage, file, output',
  [
    (2, 'mp_rank_00_model_states.pt', 'hold the files .*_model_states.pt of'),
    (3, 'zero_pp_rank_0_mp_rank_00_model_states.pt', r'got ranks \[1\]: copy'),
    (2, 'zero/mid.bias/fp32.pt', 'for each parameter, without mid.bias:'),
    (3, 'zero/norm.weight/fp32.pt', 'without norm.weight: copy them, too'),
  ],
)
def test_a_missing_file_is_named(tmp_path, stage, file, output):
  zero_folders.write_universal(tmp_path, stage, 2)
  (tmp_path / TAG / file).unlink()
  torch_files.refused(tmp_path, output)


@pytest.mark.parametrize('stage, count', [(2, 2), (2, 3), (3, 2)])
def test_slices_of_model_parallelism_are_read(tmp_path, stage, count):
  zero_folders.write_slices(tmp_path, stage, count)
  assert f'DeepSpeed of {count} slices: taking' in lines_of(tmp_path)[1]


def test_a_missing_slice_is_named(tmp_path):
  zero_folders.write_slices(tmp_path, 2, 3)
  (tmp_path / TAG / 'mp_rank_01_model_states.pt').unlink()
  torch_files.refused(tmp_path, r'all slices, got slices \[0, 2\]: copy them')


def test_frozen_weights_must_be_equal_in_all_slices(tmp_path):
  """No file says along which axis the slices of a frozen weight are joined."""
  zero_folders.write_slices(tmp_path, 2, 2)
  state = zero_folders.model_state(2, 1, 0)
  state['module']['frozen.weight'] = zero_folders.FROZEN['frozen.weight'][:1]
  zero_folders.save(tmp_path / TAG / 'mp_rank_01_model_states.pt', state)
  torch_files.refused(tmp_path, "the same 'frozen.weight' in all slices of mod")


@pytest.mark.parametrize('shape', [(4, 4), (3, 4), (9,), (3, 3, 1)])
def test_a_parameter_must_fit_its_slices(tmp_path, shape):
  zero_folders.write_slices(tmp_path, 2, 2)
  value = {'param': np.zeros(shape, np.float32)}
  zero_folders.save(tmp_path / TAG / 'zero/mid.weight/fp32.pt', value)
  torch_files.refused(tmp_path, r'of shape \(3, 2\), got .* for 2 slices')


def test_a_parameter_alone_names_its_folder(tmp_path):
  zero_folders.write_universal(tmp_path, 2, 1)
  path = tmp_path / TAG / 'zero/mid.bias/fp32.pt'
  torch_files.refused(path, f'got a single parameter: give {tmp_path}/{TAG}')


@pytest.mark.parametrize(
  'value, output',
  [
    (np.zeros(8, np.float32), 'shape .3, 3.* needs other than 8'),
    ({'param': np.zeros((9, 1), np.float32)}, r'must hold .* got \(9, 1\)'),
    ({'param': None}, r'a tensor of shape \(3, 3\), got no tensor'),
    ({'exp_avg': np.zeros(9, np.float32)}, 'got no tensor'),
    ([np.zeros(9, np.float32)], 'got no tensor'),
  ],
)
def test_a_parameter_of_another_shape_is_refused(tmp_path, value, output):
  zero_folders.write_universal(tmp_path, 2, 1)
  path = tmp_path / TAG / 'zero/mid.weight/fp32.pt'
  path.unlink()
  zero_folders.save(path, value)
  torch_files.refused(tmp_path, output)


def test_objects_of_unknown_types_are_not_made(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  zero_folders.write_universal(tmp_path / 'run', 2, 1)
  path = tmp_path / 'run' / TAG / 'zero/mid.bias/fp32.pt'
  path.unlink()
  harm = zero_folders.called('os system', 'touch harm')
  array = zero_folders.TRAINED['mid.bias']
  zero_folders.save(path, {'param': array, 'sub_param_shape': harm})
  lines_of(tmp_path / 'run')
  assert [file.name for file in tmp_path.iterdir()] == ['run']
