"""Files from strangers are read bit for bit, or refused in one line."""

import json
import os
import pathlib
import struct
import subprocess
import sys
import zipfile

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy

from conversions import safetensors_file
from conversions import source
from conversions import tensors
import torch_files

ROOT = pathlib.Path(__file__).parent.parent
RNG = np.random.default_rng(0)
ARRAYS = {
    'a.weight': RNG.normal(size=(3, 4)).astype(np.float32),
    'a.bias': RNG.normal(size=4).astype(tensors.BFLOAT16),
    'b': RNG.integers(0, 9, (2, 1, 5)),
    'c': np.zeros((), np.float16),
}


def write(path, arrays=ARRAYS):
  wanted = {k: (v.shape, v.dtype) for k, v in arrays.items()}
  safetensors_file.write(path, wanted, arrays.get, {'format': 'pt'})
  return path


def assert_same(found, wanted):
  assert found.keys() == wanted.keys()
  for name, tensor in found.items():
    array = tensor.read()
    assert (array.dtype, array.shape) == (
        wanted[name].dtype, wanted[name].shape)
    assert array.tobytes() == wanted[name].tobytes()


def refused(path, said):
  """Asserts that reading fails with one line that says something."""
  with pytest.raises(ValueError, match=said) as caught:
    for tensor in source.find(str(path)).tensors.values():
      tensor.read()
  assert '\n' not in str(caught.value)
  assert len(str(caught.value)) < 1_000


def test_safetensors_come_back(tmp_path):
  path = write(tmp_path / 'x.safetensors')
  assert_same(source.find(str(path)).tensors, ARRAYS)


def test_what_is_written_is_what_the_library_reads(tmp_path):
  arrays = {k: v for k, v in ARRAYS.items() if v.dtype != tensors.BFLOAT16}
  path = write(tmp_path / 'x.safetensors', arrays)
  found = safetensors.numpy.load_file(path)
  assert {k: v.tobytes() for k, v in found.items()} == {
      k: v.tobytes() for k, v in arrays.items()}


def test_what_the_library_writes_is_read(tmp_path):
  path = tmp_path / 'x.safetensors'
  arrays = {'w': ARRAYS['a.weight'], 'n': ARRAYS['b']}
  safetensors.numpy.save_file(arrays, path, {'format': 'pt'})
  assert_same(source.find(str(path)).tensors, arrays)


def test_a_torch_file_comes_back(tmp_path):
  path = torch_files.save(tmp_path / 'x.bin', ARRAYS)
  assert_same(source.find(str(path)).tensors, ARRAYS)


def test_what_torch_writes_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  whole = torch.arange(24.0).reshape(4, 6)
  module = torch.nn.Linear(3, 2)
  state = module.state_dict()
  state |= {
      'half': whole.to(torch.bfloat16), 'turned': whole.T,
      'part': whole[1:3, 2:], 'ids': torch.arange(5),
      'parameter': torch.nn.Parameter(torch.ones(2, 2)),
      'scalar': torch.tensor(2.5), 'empty': torch.zeros(0, 3),
  }
  torch.save(state, tmp_path / 'x.bin')
  found = source.find(str(tmp_path / 'x.bin')).tensors
  assert found.keys() == state.keys()
  for name, value in state.items():
    array = found[name].read()
    assert array.shape == tuple(value.shape)
    wanted = value.detach()
    if name == 'half':
      array, wanted = array.astype(np.float32), wanted.float()
    np.testing.assert_array_equal(array, wanted.numpy())


def test_what_is_written_is_what_torch_reads(tmp_path):
  torch = pytest.importorskip('torch')
  library = pytest.importorskip('safetensors.torch')
  found = library.load_file(write(tmp_path / 'x.safetensors'))
  assert found['a.bias'].dtype == torch.bfloat16
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(
        found[name].double().numpy(), array.astype(np.float64))


def shards(folder, kind='safetensors'):
  """Writes ARRAYS in two files and an index; returns the index."""
  names = list(ARRAYS)
  places = {}
  stem = 'model' if kind == 'safetensors' else 'pytorch_model'
  for i, part in enumerate((names[:2], names[2:])):
    file = f'{stem}-{i + 1}-of-2.{kind}'
    arrays = {n: ARRAYS[n] for n in part}
    (write if kind == 'safetensors' else torch_files.save)(
        folder / file, arrays)
    places |= dict.fromkeys(part, file)
  index = folder / f'{stem}.{kind}.index.json'
  index.write_text(json.dumps({'metadata': {}, 'weight_map': places}))
  return index


@pytest.mark.parametrize('kind', ['safetensors', 'bin'])
def test_shards_are_one_checkpoint(tmp_path, kind):
  shards(tmp_path, kind)
  (tmp_path / 'config.json').write_text('{"a": 1}')
  found = source.find(str(tmp_path))
  assert_same(found.tensors, ARRAYS)
  assert found.config == {'a': 1}
  assert len(found.sums()) == 2


def change(index, **places):
  """Edits the map of an index."""
  record = json.loads(index.read_text())
  record['weight_map'] |= places
  record['weight_map'] = {
      k: v for k, v in record['weight_map'].items() if v is not None}
  index.write_text(json.dumps(record))


@pytest.mark.parametrize('place', [
    '../secret.safetensors', '/etc/passwd', 'a/b.safetensors', '..',
    'x\\y.safetensors', '',
])
def test_an_index_that_leaves_the_folder_is_refused(tmp_path, place):
  write(tmp_path / 'secret.safetensors', {'b': ARRAYS['b']})
  folder = tmp_path / 'inside'
  folder.mkdir()
  change(shards(folder), b=place)
  refused(folder, 'is no plain file name')


def test_shards_that_do_not_fit_their_index_are_all_named(tmp_path):
  change(shards(tmp_path), b=None, d='model-1-of-2.safetensors')
  refused(tmp_path, "'b' is in model-2.*'d' is not in model-1")


def test_a_missing_shard_is_named(tmp_path):
  shards(tmp_path)
  (tmp_path / 'model-2-of-2.safetensors').unlink()
  refused(tmp_path, 'model-2-of-2.safetensors is missing')


@pytest.mark.parametrize('kind', ['safetensors', 'bin'])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, kind):
  path = tmp_path / f'x.{kind}'
  (write if kind == 'safetensors' else torch_files.save)(path, ARRAYS)
  data = path.read_bytes()
  for size in [0, 5, 8, 20, len(data) // 2, len(data) - 30, len(data) - 1]:
    path.write_bytes(data[:size])
    refused(path, 'x.')


def entry(**changes):
  return {
      'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]} | changes


@pytest.mark.parametrize('header, said', [
    ({'a': entry(shape=[3])}, '8 bytes for float32'),
    ({'a': entry(shape=[2**40, 2**40])}, '8 bytes for float32'),
    ({'a': entry(shape=[10**999] * 8)}, '8 bytes for float32'),
    ({'a': entry(shape=[-2])}, 'shape is'),
    ({'a': entry(shape=[True])}, 'shape is'),
    ({'a': entry(shape=[1] * 50)}, '50 axes'),
    ({'a': entry(dtype='F128')}, "dtype 'F128'"),
    ({'a': entry(data_offsets=[8, 0])}, 'bytes for'),
    ({'a': entry(data_offsets=[0, 8, 8])}, 'start, stop'),
    ({'a': entry(data_offsets=[4, 12])}, "'a' begins at byte 4, wanted 0"),
    ({'a': entry(), 'b': entry()}, "'b' begins at byte 0, wanted 8"),
    ({}, '0 bytes of tensors, but 8 in the file'),
    ({'a': entry(extra=1)}, 'wanted dtype, shape'),
    ({'a': 3}, 'wanted dtype, shape'),
    ('{"a": 1, "a": 1}', "key twice: 'a'"),
    ('{"a": NaN}', 'NaN is not JSON'),
    ('[' * 100_000, 'header of'),
    ('[]', 'no JSON object'),
])
def test_a_header_that_lies_is_refused(tmp_path, header, said):
  text = header if isinstance(header, str) else json.dumps(header)
  path = tmp_path / 'x.safetensors'
  path.write_bytes(struct.pack('<Q', len(text)) + text.encode() + bytes(8))
  refused(path, said)


def test_a_header_longer_than_its_file_is_refused(tmp_path):
  path = tmp_path / 'x.safetensors'
  path.write_bytes(struct.pack('<Q', 2**63) + b'{}')
  refused(path, 'does not fit 10 bytes')


HARMFUL = {
    'system': b'\x80\x02cos\nsystem\n' + torch_files.text('touch harm')
              + b'\x85R.',
    'eval': b'\x80\x02cbuiltins\neval\n' + torch_files.text('1/0') + b'\x85R.',
    'load': b'\x80\x02ctorch\nload\n' + torch_files.text('x') + b'\x85R.',
    'getattr': b'\x80\x02cbuiltins\ngetattr\n.',
    'instance': b'\x80\x02(cos\nsystem\no.',
    'object': b'\x80\x04\x8c\x02os\x8c\x06system\x93.',
    'extension': b'\x80\x02\x82\x01.',
}


@pytest.mark.parametrize('name', HARMFUL)
def test_code_in_a_pickle_is_not_run(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  path = torch_files.archive(tmp_path / 'x.bin', HARMFUL[name], {})
  refused(path, 'its pickle (calls|has)')
  assert os.listdir(tmp_path) == ['x.bin']


def view(count=4, shape=(2, 2), strides=(2, 1), offset=0, **options):
  return torch_files.state_dict({
      'w': torch_files.tensor('0', count, shape, strides, offset, **options)})


@pytest.mark.parametrize('pickled, said', [
    (view(shape=(10**6, 10**6), strides=(0, 0)), 'does not fit its storage'),
    (view(shape=(2**62, 4), strides=(0, 1)), 'does not fit its storage'),
    (view(strides=(3, 1)), 'does not fit its storage'),
    (view(offset=1), 'does not fit its storage'),
    (view(offset=-1), 'whole numbers'),
    (view(strides=(-1, 1)), 'whole numbers'),
    (view(shape=(-2, -2)), 'whole numbers'),
    (view(shape=(1,) * 9, strides=(1,) * 9), '9 sizes'),
    (view(shape=(4,)), '1 sizes and 2 strides'),
    (view(count=5), 'has 16 bytes, wanted 5 elements'),
    (view(count=2**60), 'has 16 bytes'),
    (view(storage='LongStorage'), 'wanted 4 elements of int64'),
    (view(storage='QInt8Storage'), 'calls'),
    (view().replace(torch_files.text('0'), torch_files.text('../1')),
     'missing'),
    (torch_files.state_dict({'w': torch_files.text('no tensor')}), 'is a str'),
    (b'\x80\x02]\x94.', 'MEMOIZE'),
    (b'\x80\x02].', 'holds a list'),
    (b'\x80\x02}r\xff\xff\xff\xff.', 'wants memo 4294967295'),
    (b'\x80\x02}', 'pickle'),
    (b'', 'pickle'),
])
def test_a_pickle_that_lies_is_refused(tmp_path, pickled, said):
  path = torch_files.archive(
      tmp_path / 'x.bin', pickled, {'data/0': bytes(16)})
  refused(path, said)


def test_a_tensor_cannot_be_altered_after_its_checks(tmp_path):
  code = torch_files.tensor('0', 4, (2, 2), (2, 1))
  altered = code + b'}' + torch_files.text('start') + (
      torch_files.numbers(0)[1:-1] + b'sb')
  path = torch_files.archive(
      tmp_path / 'x.bin', torch_files.state_dict({'w': altered}),
      {'data/0': bytes(16)})
  refused(path, '__dict__')


def test_a_name_that_is_there_twice_is_refused(tmp_path):
  each = torch_files.text('w') + torch_files.tensor('0', 4, (4,), (1,)) + b's'
  path = torch_files.archive(
      tmp_path / 'x.bin',
      b'\x80\x02ccollections\nOrderedDict\n)R' + each + each + b'.',
      {'data/0': bytes(16)})
  refused(path, "'w' is there twice")


def test_a_deflated_archive_is_refused_unopened(tmp_path):
  path = torch_files.archive(
      tmp_path / 'x.bin', view(count=10**8, shape=(10**8,), strides=(1,)),
      {'data/0': bytes(4 * 10**8)}, compression=zipfile.ZIP_DEFLATED)
  assert path.stat().st_size < 10**6
  refused(path, 'is compressed')


def test_a_member_in_two_places_is_refused(tmp_path):
  path = tmp_path / 'x.bin'
  torch_files.archive(path, view(), {'data/0': bytes(16)})
  with pytest.warns(UserWarning, match='Duplicate name'):
    with zipfile.ZipFile(path, 'a') as file:
      file.writestr('archive/data/0', bytes(16))
  refused(path, 'unexpected member')


def test_bytes_in_the_other_order_are_refused(tmp_path):
  path = torch_files.archive(
      tmp_path / 'x.bin', view(), {'data/0': bytes(16), 'byteorder': b'big'})
  refused(path, 'not little-endian')


def test_a_file_that_is_no_archive_is_refused(tmp_path):
  path = tmp_path / 'pytorch_model.bin'
  path.write_bytes(b'\x80\x02cos\nsystem\n.')
  refused(tmp_path, 'is no zip archive')


def test_a_folder_without_a_checkpoint_says_what_is_wanted(tmp_path):
  refused(tmp_path, 'wanted one of model.safetensors.index.json')
  refused(tmp_path / 'nothing', 'no file or folder at')


def test_random_damage_ends_in_one_line(tmp_path):
  rng = np.random.default_rng(3)
  for kind in ('safetensors', 'bin'):
    path = tmp_path / f'x.{kind}'
    (write if kind == 'safetensors' else torch_files.save)(path, ARRAYS)
    data = path.read_bytes()
    for _ in range(150):
      damaged = bytearray(data)
      for place in rng.integers(0, len(data), 3):
        damaged[place] = rng.integers(0, 256)
      path.write_bytes(damaged)
      try:
        for tensor in source.find(str(path)).tensors.values():
          tensor.read()
      except ValueError as error:
        assert len(str(error)) < 1_000


def test_no_read_holds_more_than_it_gives(tmp_path):
  # 40 tensors of 8 MB; one at a time is all that is in memory.
  arrays = {str(i): np.full(2_000_000, i, np.float32) for i in range(40)}
  path = write(tmp_path / 'x.safetensors', arrays)
  del arrays
  program = (
      'import resource, sys\n'
      'from conversions import source\n'
      'found = source.find(sys.argv[1]).tensors\n'
      'peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
      'before = peak()\n'
      'for tensor in found.values(): tensor.read()\n'
      'print((peak() - before) // 1024)\n'
  )
  run = subprocess.run(
      [sys.executable, '-c', program, path], cwd=ROOT, capture_output=True,
      text=True, check=True)
  assert int(run.stdout) < 60


def test_a_hub_id_is_pinned_to_its_revision(tmp_path, monkeypatch):
  shards(tmp_path)
  asked = []

  class Api:
    def model_info(self, repo, revision):
      asked.append((repo, revision))
      return type('Info', (), {'sha': 'abc123'})

  def download(repo, revision, allow_patterns):
    asked.append((repo, revision))
    return str(tmp_path)

  monkeypatch.setattr(huggingface_hub, 'HfApi', Api)
  monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
  monkeypatch.chdir(tmp_path)
  said = []
  found = source.find('some/model@main', said.append)
  assert found.name == 'some/model@abc123'
  assert asked == [('some/model', 'main'), ('some/model', 'abc123')]
  assert said == ['some/model at revision abc123']
  assert_same(found.tensors, ARRAYS)
