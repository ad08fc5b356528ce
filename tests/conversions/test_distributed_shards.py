"""Safetensors files of several processes are joined."""

import distributed_folders
import pytest
import safetensors.numpy
import torch_files

from conversions.files import source

ARRAYS = torch_files.ARRAYS
NAME = 'shard-0000{}-model-00001-of-00001.safetensors'


@pytest.mark.parametrize('processes', [1, 2, 5])
def test_the_parts_of_all_processes_are_joined(tmp_path, processes):
  distributed_folders.write_safetensors(tmp_path, processes)
  torch_files.assert_same(source.find(str(tmp_path)).tensors, ARRAYS)


@pytest.mark.parametrize(
  'rank, output', [(2, 'without 2: copy them'), (3, 'must fill shape')]
)
def test_a_missing_file_is_named(tmp_path, rank, output):
  arrays = {'w': ARRAYS['a.weight'], 'x': ARRAYS['a.weight'].T.copy()}
  distributed_folders.write_safetensors(tmp_path, 3, arrays)
  if rank == 2:
    (tmp_path / NAME.format(2)).unlink()
  else:
    (tmp_path / NAME.format(2)).write_bytes(
      (tmp_path / NAME.format(1)).read_bytes()
    )
  torch_files.refused(tmp_path, output)


@pytest.mark.parametrize(
  'places, output',
  [
    (None, 'DCP_SHARDING_INFO'),
    ('{}', 'must have 1 offsets at DCP_SHARDING_INFO, got None'),
    ('{"w": {"saved_offsets": [0, 0]}}', r'must have 1 offsets .* \[0, 0\]'),
    ('{"w": {"saved_offsets": [-1]}}', 'must have 1 offsets'),
    ('{"w": {"saved_offsets": [true]}}', 'must have 1 offsets'),
    ('{"w": {"saved_offsets": [1]}}', 'its 1 parts must fill shape .5,.'),
    ('{"w": {"saved_offsets": 5}}', 'must have 1 offsets'),
    ('{"w": 5}', 'must have 1 offsets'),
    ('[', 'DCP_SHARDING_INFO'),
  ],
)
def test_places_that_lie_are_refused(tmp_path, places, output):
  metadata = {'DCP_SHARDING_INFO': places} if places else None
  array = ARRAYS['c'].reshape(1).repeat(4)
  safetensors.numpy.save_file({'w': array}, tmp_path / NAME.format(1), metadata)
  torch_files.refused(tmp_path, output)
