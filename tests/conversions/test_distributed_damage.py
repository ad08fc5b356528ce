"""Damaged folders of torch.distributed.checkpoint are refused in one line."""

import distributed_folders
import numpy as np
import pytest
import torch_files
import zero_folders

from conversions.files import source

ARRAYS = {'w': np.arange(24, dtype=np.float32).reshape(6, 4)}
BOXES = [((0, 0), (3, 4)), ((3, 0), (3, 4))]


def save(folder, **changes):
  """Writes a tensor in two parts; changes replace fields of the Metadata."""
  fields = distributed_folders.state(ARRAYS, folder, 2)
  distributed_folders.save_metadata(folder, fields | changes)
  return folder


def record(boxes, shape=(6, 4), dtype=np.float32):
  array = np.broadcast_to(np.zeros((), dtype), shape)
  return distributed_folders.tensor_record(array, boxes)


@pytest.mark.parametrize(
  'entry, output',
  [
    (record(BOXES[:1]), 'its 1 parts must fill shape .6, 4. without gaps'),
    (record(BOXES, (7, 4)), 'its 2 parts must fill shape .7, 4.'),
    (record(BOXES, (6, 3)), 'its 2 parts must fill'),
    (record(BOXES, (0, 4)), 'its 2 parts must fill'),
    (record(BOXES, (24,)), 'all parts must have 1 axes'),
    (record(BOXES, (10**9, 10**9)), 'its 2 parts must fill'),
    (record([*BOXES, ((0, 0), (6, 4))]), r'must have shape \(6, 4\), got'),
    (record([*BOXES, ((1, 0), (3, 4))]), 'its part at .1, 0. has no file'),
    (
      record([((0, 0), (2, 4)), BOXES[1]]),
      'must have shape .2, 4., got .3, 4.',
    ),
    (record([((-1, 0), (3, 4))]), 'its offsets must be at most 8 whole numb'),
    (record([((0, 0), (2**50, 4))]), 'its sizes must be at most 8 whole numb'),
    (record(BOXES, (6, 4) + (1,) * 7), 'its size must be at most 8 whole'),
    (record(BOXES, dtype=np.float16), 'all parts of a tensor must be float16'),
  ],
)
def test_boxes_that_do_not_fill_the_tensor_are_refused(tmp_path, entry, output):
  save(tmp_path / 'x', state_dict_metadata={'model.w': entry})
  torch_files.refused(tmp_path / 'x', output)


def test_a_part_of_two_processes_is_taken_once(tmp_path):
  entry = {'model.w': record([*BOXES, BOXES[0], ((6, 0), (0, 4))])}
  folder = save(tmp_path / 'x', state_dict_metadata=entry)
  torch_files.assert_same(source.find(str(folder)).tensors, ARRAYS)


@pytest.mark.parametrize(
  'place, output',
  [
    (('../x/__0_0.distcp', 0, 9), r"plain name, got '../x/__0_0\.distcp'"),
    (('/etc/passwd', 0, 9), 'its file must have a plain name'),
    (('.metadata', 0, 9), 'its file must have a plain name'),
    (('a\nb', 0, 9), 'its file must have a plain name'),
    (('__9_0.distcp', 0, 9), 'must hold 1 files .* without __9_0.distcp'),
    (('__0_0.distcp', -1, 9), 'its bytes must begin at 0 or later'),
    (('__0_0.distcp', 0, 10**30), 'bytes or more, got'),
    (('__0_0.distcp', 10**9, 10), 'must have 1000000010 bytes or more, got'),
    (('__0_0.distcp', 0, 0), 'must be a zip archive'),
    (('__0_0.distcp', 5, 100), 'must be a zip archive'),
    (('__0_0.distcp', True, 100), 'must be a zip archive'),
    (('__0_0.distcp', None, 100), '_StorageInfo must have a int at offset'),
    ((5, 0, 9), 'must have a str at relative_path, got int'),
  ],
)
def test_a_place_that_lies_is_refused(tmp_path, place, output):
  places = {
    distributed_folders.index('model.w', box[0]): distributed_folders.place(
      *place
    )
    for box in BOXES
  }
  folder = save(tmp_path / 'x', storage_data=places)
  torch_files.refused(folder, output)


def test_parts_that_an_extension_has_compressed_are_refused(tmp_path):
  place = distributed_folders.place(
    '__0_0.distcp', 0, 9, transform_descriptors=['stream.zstd']
  )
  places = {distributed_folders.index('model.w', (0, 0)): place}
  folder = save(tmp_path / 'x', storage_data=places)
  torch_files.refused(folder, 'it is compressed by an extension')


def test_an_archive_without_a_tensor_is_refused(tmp_path):
  folder = save(tmp_path / 'x')
  zero_folders.save(tmp_path / 'y', {'w': ARRAYS['w']})
  data = (tmp_path / 'y').read_bytes()
  (folder / '__0_0.distcp').write_bytes(data)
  place = distributed_folders.place('__0_0.distcp', 0, len(data))
  places = {
    distributed_folders.index('model.w', box[0]): place for box in BOXES
  }
  distributed_folders.save_metadata(
    folder,
    {'state_dict_metadata': {'model.w': record(BOXES)}, 'storage_data': places},
  )
  torch_files.refused(folder, 'got no tensor')


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'state_dict_metadata': None}, 'must have a dict at state_dict_metadata'),
    ({'storage_data': {}}, 'its part at .0, 0. has no file'),
    ({'storage_data': {'model.w': 1}}, 'a MetadataIndex as each key'),
    ({'state_dict_metadata': {}}, 'got no tensors or the states'),
    ({'planner_data': {'model.w': ('a', 5)}}, 'must be a tensor'),
    ({'planner_data': {'model.w': ('a',) * 99}}, None),
    ({'planner_data': {'model.w': ([],)}}, None),
    ({'planner_data': None}, None),
  ],
)
def test_fields_of_other_types_are_refused(tmp_path, changes, output):
  folder = save(tmp_path / 'x', **changes)
  if output:
    torch_files.refused(folder, output)
  else:
    assert source.find(str(folder)).tensors.keys() == {'model.w'}


def test_two_tensors_with_the_same_keys_are_refused(tmp_path):
  entries = dict.fromkeys(['a', 'b'], record(BOXES))
  names = dict.fromkeys(['a', 'b'], ('model', 'w'))
  folder = save(tmp_path / 'x', state_dict_metadata=entries, planner_data=names)
  torch_files.refused(folder, "'b' has the keys of another")


@pytest.mark.parametrize(
  'pickled, output',
  [
    (b'', 'got an empty file'),
    (b'\x80\x04}.', 'must hold the Metadata of torch.distributed.checkpoint'),
    (b'\x80\x04\x8c\x02os\x8c\x06system\x93.', 'must hold the Metadata of'),
    (b'\x80\x04', 'pickle exhausted'),
    (b'\x80\x04' + b']' * 200 + b'.', 'pickle'),
    (b'\x80\x04)' + b'\x85' * 200 + b'.', 'more than 100 objects within'),
    (b'\x80\x04\x82\x01.', 'has EXT1'),
  ],
)
def test_a_pickle_of_other_things_is_refused(tmp_path, pickled, output):
  folder = save(tmp_path / 'x')
  (folder / '.metadata').write_bytes(pickled)
  torch_files.refused(folder, output)


def test_code_in_the_metadata_is_not_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  harm = distributed_folders.Call('os system', 'touch harm')
  folder = save(tmp_path / 'run', storage_meta=harm)
  torch_files.assert_same(source.find(str(folder)).tensors, ARRAYS)
  assert [path.name for path in tmp_path.iterdir()] == ['run']


def test_a_cut_file_is_refused(tmp_path):
  folder = save(tmp_path / 'x')
  path = folder / '__1_0.distcp'
  path.write_bytes(path.read_bytes()[:-40])
  torch_files.refused(folder, 'copy the complete file')
