"""The files of FSDP's processes come in bit for bit."""

import distributed_folders
import numpy as np
import pytest
import rank_folders
import torch_files

from conversions.files import source

ARRAYS = torch_files.ARRAYS
SQUARE = np.arange(30, dtype=np.float32).reshape(5, 6)
KINDS = [rank_folders.dtensor, rank_folders.sharded]


def lines_of(path, arrays=ARRAYS):
  """Reads arrays at a path; returns the lines that the reader says."""
  lines = []
  torch_files.assert_same(source.find(str(path), lines.append).tensors, arrays)
  return lines


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('processes', [1, 2, 5])
def test_the_parts_of_all_processes_are_joined(tmp_path, processes, kind):
  folder = tmp_path / 'checkpoint-4'
  rank_folders.write(folder, processes, kind=kind)
  (folder / 'optimizer_0_rank0.bin').write_bytes(b'no weights')
  line = f'joining the parts of FSDP in {processes} file'
  line += 's' * (processes > 1)
  assert lines_of(folder) == [f'{folder.name}: {line}']
  assert lines_of(tmp_path)[-1] == f'{folder.name}: {line}'
  lines_of(folder / rank_folders.NAME.format(0))


@pytest.mark.parametrize(
  'grid, axes',
  [
    ((2, 2), (None, 0)),
    ((2, 2), (0, None)),
    ((2, 2), (0, 1)),
    ((2, 3), (0, 0)),
    ((3, 2), (-1, 0)),
    ((4,), (1,)),
    ((8,), (0,)),
    ((2,), (None,)),
  ],
)
def test_each_division_of_a_mesh_is_undone(tmp_path, grid, axes):
  for rank in range(np.prod(grid)):
    tensor = rank_folders.of_grid(SQUARE, rank, grid, axes)
    rank_folders.save(tmp_path / rank_folders.NAME.format(rank), {'w': tensor})
  lines_of(tmp_path, {'w': SQUARE})


def test_processes_outside_a_mesh_have_no_part(tmp_path):
  rank_folders.write(tmp_path, 2, {'w': SQUARE})
  tensor = rank_folders.dtensor((5, 6), SQUARE[:0], None, ())
  rank_folders.save(tmp_path / rank_folders.NAME.format(2), {'w': tensor})
  lines_of(tmp_path, {'w': SQUARE})


def test_the_other_model_is_mentioned(tmp_path):
  rank_folders.write(tmp_path, 2)
  other = {
    name: array[..., ::-1].copy() for name, array in list(ARRAYS.items())[:2]
  }
  rank_folders.write(tmp_path / 'other', 2, other)
  names = [f'pytorch_model_fsdp_1_rank{rank}.bin' for rank in range(2)]
  for rank, name in enumerate(names):
    path = tmp_path / 'other' / rank_folders.NAME.format(rank)
    path.rename(tmp_path / name)
  assert f'give {names[0]} for the other' in lines_of(tmp_path)[0]
  lines_of(tmp_path / names[0], other)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
  'rank, output',
  [(1, 'the files of processes 0 to 2, without 1'), (2, 'files of all proces')],
)
def test_a_missing_file_is_named(tmp_path, kind, rank, output):
  rank_folders.write(tmp_path, 3, {'w': SQUARE}, kind)
  (tmp_path / rank_folders.NAME.format(rank)).unlink()
  torch_files.refused(tmp_path, output)


@pytest.mark.parametrize(
  'name', ['pytorch_model_fsdp_rank{}.bin', rank_folders.NAME]
)
def test_flat_parameters_name_the_way_on(tmp_path, name):
  """LOCAL_STATE_DICT: neither names nor shapes of weights are in the files."""
  flat = np.arange(12, dtype=np.float32)
  for rank in range(2):
    part = [((6 * rank,), flat[6 * rank :][:6])]
    state = {'layers.0._flat_param': rank_folders.sharded((12,), part)}
    rank_folders.save(tmp_path / name.format(rank), state)
  torch_files.refused(
    tmp_path,
    r"'layers.0._flat_param', whose names and shapes are in no file: in the "
    r'program .*LOCAL_STATE_DICT.*strict=False.* save it with SHARDED_STATE_D',
  )


def with_changes(**changes):
  arguments = {
    'shape': (5, 6),
    'part': SQUARE,
    'coordinates': (0,),
    'placements': (rank_folders.placement(0),),
  }
  return rank_folders.dtensor(**arguments | changes)


def of_class(name):
  return rank_folders.Record(f'{rank_folders.PLACEMENTS} {name}', {'dim': 0})


@pytest.mark.parametrize(
  'tensor, output',
  [
    (with_changes(part=SQUARE[:3]), r'must have shape \(5, 6\), got \(3, 6\)'),
    (with_changes(coordinates=(1,)), 'must have shape .2, 6., got .5, 6.'),
    (with_changes(coordinates=(2**50,)), 'at most 8 whole numbers'),
    (with_changes(coordinates=None), 'no process has a part of it'),
    (with_changes(coordinates=(0, 0)), 'must have 2 items or more'),
    (with_changes(coordinates=()), 'must have 0 placements, got 1'),
    (with_changes(shape=(5,) * 9), 'at most 8 whole numbers'),
    (with_changes(shape=(5, -6)), 'at most 8 whole numbers'),
    (with_changes(placements=(rank_folders.placement(2),)), 'one of 2'),
    (with_changes(placements=(of_class('_StridedShard'),)), 'StridedShard: sa'),
    (with_changes(placements=(of_class('Partial'),)), 'got Partial: save it'),
    (with_changes(placements=(of_class('Odd'),)), 'got Setting: save it with'),
    (with_changes(order=[(0, (1, 0))]), 'in ascending order: save it'),
    (with_changes(order=[(0,)]), 'must have 2 items'),
    (with_changes(mesh='Other'), 'must have a DeviceMesh at mesh'),
    (with_changes(part=None), 'must have a tensor and a DTensorSpec'),
    (rank_folders.sharded((5, 6), [((-1, 0), SQUARE)]), 'at most 8 whole num'),
    (rank_folders.sharded((5, 6), [((1, 0), SQUARE)]), 'must fill shape .5, 6'),
    (rank_folders.sharded((5, 6), [((0,), SQUARE)]), 'all parts must have 2 a'),
    (rank_folders.sharded((5, 6), [((0, 0), None)]), 'must have a TensorIndex'),
    (rank_folders.sharded((5, 6), []), 'no process has a part of it'),
    (distributed_folders.Call('os system', 'touch harm'), 'must be a tensor'),
  ],
)
def test_other_parts_are_refused(tmp_path, monkeypatch, tensor, output):
  monkeypatch.chdir(tmp_path)
  path = tmp_path / rank_folders.NAME.format(0)
  rank_folders.save(path, {'w': tensor})
  torch_files.refused(path, output)
  assert not (tmp_path / 'harm').exists()


def test_processes_must_agree_on_shapes(tmp_path):
  for rank, array in enumerate((SQUARE, SQUARE.T)):
    tensor = rank_folders.of_process(array, rank, 2)
    rank_folders.save(tmp_path / rank_folders.NAME.format(rank), {'w': tensor})
  torch_files.refused(tmp_path, 'of tensors with the same shape')
