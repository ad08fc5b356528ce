"""Files from strangers are read bit for bit, or refused in one line."""

import json
import pathlib
import struct
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
import torch_files

from conversions.files import safetensors_file
from conversions.files import source
from conversions.files import tensors

ROOT = pathlib.Path(__file__).parents[2]
ARRAYS = torch_files.ARRAYS


def write(path, arrays=ARRAYS):
  expected = {k: (v.shape, v.dtype) for k, v in arrays.items()}
  safetensors_file.write(path, expected, arrays.get, {'format': 'pt'})
  return path


def test_safetensors_come_back(tmp_path):
  path = write(tmp_path / 'x.safetensors')
  torch_files.assert_same(source.find(str(path)).tensors, ARRAYS)


def test_what_is_written_is_what_the_library_reads(tmp_path):
  arrays = {k: v for k, v in ARRAYS.items() if v.dtype != tensors.BFLOAT16}
  path = write(tmp_path / 'x.safetensors', arrays)
  actual = safetensors.numpy.load_file(path)
  assert {k: v.tobytes() for k, v in actual.items()} == {
    k: v.tobytes() for k, v in arrays.items()
  }


def test_what_the_library_writes_is_read(tmp_path):
  path = tmp_path / 'x.safetensors'
  arrays = {'w': ARRAYS['a.weight'], 'n': ARRAYS['b']}
  safetensors.numpy.save_file(arrays, path, {'format': 'pt'})
  torch_files.assert_same(source.find(str(path)).tensors, arrays)


def test_what_is_written_is_what_torch_reads(tmp_path):
  torch = pytest.importorskip('torch')
  library = pytest.importorskip('safetensors.torch')
  actual = library.load_file(write(tmp_path / 'x.safetensors'))
  assert actual['a.bias'].dtype == torch.bfloat16
  for name, array in ARRAYS.items():
    np.testing.assert_array_equal(
      actual[name].double().numpy(), array.astype(np.float64)
    )


def shards(folder, kind='safetensors'):
  """Writes ARRAYS in two files and an index; returns the index."""
  names = list(ARRAYS)
  places = {}
  stem = 'model' if kind == 'safetensors' else 'pytorch_model'
  for i, part in enumerate((names[:2], names[2:])):
    file = f'{stem}-{i + 1}-of-2.{kind}'
    arrays = {n: ARRAYS[n] for n in part}
    (write if kind == 'safetensors' else torch_files.save)(
      folder / file, arrays
    )
    places |= dict.fromkeys(part, file)
  index = folder / f'{stem}.{kind}.index.json'
  index.write_text(json.dumps({'metadata': {}, 'weight_map': places}))
  return index


@pytest.mark.parametrize('kind', ['safetensors', 'bin'])
def test_shards_are_one_checkpoint(tmp_path, kind):
  shards(tmp_path, kind)
  (tmp_path / 'config.json').write_text('{"a": 1}')
  actual = source.find(str(tmp_path))
  torch_files.assert_same(actual.tensors, ARRAYS)
  assert actual.config == {'a': 1}
  assert len(actual.sums()) == 2


def change(index, **places):
  """Edits the map of an index."""
  record = json.loads(index.read_text())
  record['weight_map'] |= places
  record['weight_map'] = {
    k: v for k, v in record['weight_map'].items() if v is not None
  }
  index.write_text(json.dumps(record))


@pytest.mark.parametrize(
  'place',
  [
    '../secret.safetensors',
    '/etc/passwd',
    'a/b.safetensors',
    '..',
    'x\\y.safetensors',
    '',
  ],
)
def test_an_index_that_leaves_the_folder_is_refused(tmp_path, place):
  write(tmp_path / 'secret.safetensors', {'b': ARRAYS['b']})
  folder = tmp_path / 'inside'
  folder.mkdir()
  change(shards(folder), b=place)
  torch_files.refused(folder, 'shards must be plain file names')


def test_shards_that_do_not_fit_their_index_are_all_named(tmp_path):
  change(shards(tmp_path), b=None, d='model-1-of-2.safetensors')
  torch_files.refused(
    tmp_path, "'b' must be in no shard, got model-2.*'d' is not in model-1"
  )


def test_a_missing_shard_is_named(tmp_path):
  shards(tmp_path)
  (tmp_path / 'model-2-of-2.safetensors').unlink()
  torch_files.refused(tmp_path, 'model-2-of-2.safetensors is missing')


@pytest.mark.parametrize('kind', ['safetensors', 'bin'])
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, kind):
  path = tmp_path / f'x.{kind}'
  (write if kind == 'safetensors' else torch_files.save)(path, ARRAYS)
  data = path.read_bytes()
  for size in [0, 5, 8, 20, len(data) // 2, len(data) - 30, len(data) - 1]:
    path.write_bytes(data[:size])
    torch_files.refused(path, 'x.')


def entry(**changes):
  return {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]} | changes


def twice(value):
  """A header in which 'a' comes twice, first with this value."""
  return f'{{"a": {value}, "a": {json.dumps(entry())}}}'


# The package's refusal: one line that names the file.
HEADER = r'x\.safetensors: Error while deserializing header: '
# The file ends before the tensors of its header.
SHORT = r'x\.safetensors: its tensors must have \d+ bytes, got 8: .*incomplete'


@pytest.mark.parametrize(
  'header, output',
  [
    ({'a': entry(shape=[3])}, HEADER),
    ({'a': entry(shape=[2**40, 2**40])}, HEADER),
    ({'a': entry(shape=[10**999] * 8)}, HEADER),
    ({'a': entry(shape=[-2])}, HEADER),
    ({'a': entry(shape=[True])}, HEADER),
    ({'a': entry(shape=[2] + [1] * 49)}, "'a': 50 axes"),
    ({'a': entry(dtype='F128')}, HEADER),
    ({'a': entry(dtype='F8_E4M3', shape=[8])}, "'a': dtype must .*'F8_E4M3'"),
    ({'a': entry(data_offsets=[8, 0])}, HEADER),
    ({'a': entry(data_offsets=[0, 8, 8])}, HEADER),
    ({'a': entry(data_offsets=[4, 12])}, SHORT),
    ({'a': entry(shape=[4], data_offsets=[0, 16])}, SHORT),
    ({'a': entry(), 'b': entry()}, HEADER),
    ({}, HEADER),
    ({'a': entry(extra=1)}, "'a': fields must be .*'extra'"),
    ({'a': 3}, HEADER),
    ('{"a": 1, "a": 1}', "duplicate key: 'a'"),
    (
      twice('{"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}'),
      "duplicate key: 'a'",
    ),
    ('{"a": {"dtype": "F32", "dtype": "I32"}}', "duplicate key: 'dtype'"),
    ({'a': entry(), '__metadata__': {'a': 1}}, HEADER),
    ('{"a": NaN}', 'NaN is not JSON'),
    ('[' * 100_000, 'header of'),
    ('[]', 'no JSON object'),
  ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, output):
  text = header if isinstance(header, str) else json.dumps(header)
  path = tmp_path / 'x.safetensors'
  path.write_bytes(struct.pack('<Q', len(text)) + text.encode() + bytes(8))
  torch_files.refused(path, output)


def test_a_header_longer_than_its_file_is_refused(tmp_path):
  path = tmp_path / 'x.safetensors'
  path.write_bytes(struct.pack('<Q', 2**63) + b'{}')
  torch_files.refused(path, 'does not fit 10 bytes')


def test_a_folder_without_a_checkpoint_says_what_is_wanted(tmp_path):
  torch_files.refused(tmp_path, 'must hold one of model.safetensors.index.json')
  torch_files.refused(tmp_path / 'nothing', 'no file or folder at')


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
    'from conversions.files import source\n'
    'found = source.find(sys.argv[1]).tensors\n'
    'peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
    'before = peak()\n'
    'for tensor in found.values(): tensor.read()\n'
    'print((peak() - before) // 1024)\n'
  )
  run = subprocess.run(
    [sys.executable, '-c', program, path],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  assert int(run.stdout) < 60


def test_a_hub_id_is_pinned_to_its_revision(tmp_path, monkeypatch):
  shards(tmp_path)
  requested = []

  class Api:
    def model_info(self, repo, revision):
      requested.append((repo, revision))
      return type('Info', (), {'sha': 'abc123'})

  def download(repo, revision, allow_patterns):
    requested.append((repo, revision))
    return str(tmp_path)

  monkeypatch.setattr(huggingface_hub, 'HfApi', Api)
  monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
  monkeypatch.chdir(tmp_path)
  output = []
  actual = source.find('some/model@main', output.append)
  assert actual.name == 'some/model@abc123'
  assert requested == [('some/model', 'main'), ('some/model', 'abc123')]
  assert output == ['some/model at revision abc123']
  torch_files.assert_same(actual.tensors, ARRAYS)
