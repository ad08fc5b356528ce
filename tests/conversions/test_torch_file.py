"""Pickles of strangers are read bit for bit, or refused in one line."""

import os
import zipfile

import numpy as np
import pytest
import torch_files

from conversions.files import source

ARRAYS = torch_files.ARRAYS


def test_a_torch_file_comes_back(tmp_path):
  path = torch_files.save(tmp_path / 'x.bin', ARRAYS)
  torch_files.assert_same(source.find(str(path)).tensors, ARRAYS)


def test_what_torch_writes_is_read(tmp_path):
  torch = pytest.importorskip('torch')
  whole = torch.arange(24.0).reshape(4, 6)
  module = torch.nn.Linear(3, 2)
  state = module.state_dict()
  state |= {
    'half': whole.to(torch.bfloat16),
    'turned': whole.T,
    'part': whole[1:3, 2:],
    'ids': torch.arange(5),
    'parameter': torch.nn.Parameter(torch.ones(2, 2)),
    'scalar': torch.tensor(2.5),
    'empty': torch.zeros(0, 3),
  }
  torch.save(state, tmp_path / 'x.bin')
  actual = source.find(str(tmp_path / 'x.bin')).tensors
  assert actual.keys() == state.keys()
  for name, value in state.items():
    array = actual[name].read()
    assert array.shape == tuple(value.shape)
    expected = value.detach()
    if name == 'half':
      array, expected = array.astype(np.float32), expected.float()
    np.testing.assert_array_equal(array, expected.numpy())


HARMFUL = {
  'system': b'\x80\x02cos\nsystem\n'
  + torch_files.text('touch harm')
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
  torch_files.refused(path, 'its pickle (calls|has)')
  assert os.listdir(tmp_path) == ['x.bin']


def view(count=4, shape=(2, 2), strides=(2, 1), offset=0, **options):
  return torch_files.state_dict(
    {'w': torch_files.tensor('0', count, shape, strides, offset, **options)}
  )


@pytest.mark.parametrize(
  'pickled, output',
  [
    (view(shape=(10**6, 10**6), strides=(0, 0)), 'does not fit its storage'),
    (view(shape=(2**62, 4), strides=(0, 1)), 'does not fit its storage'),
    (view(strides=(3, 1)), 'does not fit its storage'),
    (view(offset=1), 'does not fit its storage'),
    (view(offset=-1), 'whole numbers'),
    (view(strides=(-1, 1)), 'whole numbers'),
    (view(shape=(-2, -2)), 'whole numbers'),
    (view(shape=(1,) * 9, strides=(1,) * 9), '9 sizes'),
    (view(shape=(4,)), '1 sizes and 2 strides'),
    (view(count=5), 'must have 5 elements of float32, got 16 bytes'),
    (view(count=2**60), 'got 16 bytes'),
    (view(storage='LongStorage'), 'must have 4 elements of int64'),
    (view(storage='QInt8Storage'), 'calls'),
    (
      view().replace(torch_files.text('0'), torch_files.text('../1')),
      'missing',
    ),
    (
      torch_files.state_dict({'w': torch_files.text('no tensor')}),
      'must be a tensor, got a str',
    ),
    (b'\x80\x02]\x94.', 'MEMOIZE'),
    (b'\x80\x02].', 'must hold a dictionary, got a list'),
    (b'\x80\x02}r\xff\xff\xff\xff.', 'has 4294967295 memos'),
    (b'\x80\x02}', 'pickle'),
    (b'', 'pickle'),
  ],
)
def test_a_pickle_that_lies_is_refused(tmp_path, pickled, output):
  path = torch_files.archive(tmp_path / 'x.bin', pickled, {'data/0': bytes(16)})
  torch_files.refused(path, output)


def test_a_tensor_cannot_be_altered_after_its_checks(tmp_path):
  code = torch_files.tensor('0', 4, (2, 2), (2, 1))
  altered = (
    code
    + b'}'
    + torch_files.text('start')
    + (torch_files.numbers(0)[1:-1] + b'sb')
  )
  path = torch_files.archive(
    tmp_path / 'x.bin',
    torch_files.state_dict({'w': altered}),
    {'data/0': bytes(16)},
  )
  torch_files.refused(path, '__dict__')


NESTED = b')' + b'\x85' * 10**6


@pytest.mark.parametrize(
  'pickled',
  [
    # The hash of such a key would overflow the stack of the process.
    b'\x80\x02}' + NESTED + b'Ns.',
    b'\x80\x02}' + NESTED + b'q\x00h\x00\x86Ns.',
    b'\x80\x02}' + b'(' * 10**5 + b't' * 10**5 + b'Ns.',
    b'\x80\x02' + b']' * 10**5 + b'a' * (10**5 - 1) + b'.',
  ],
)
def test_objects_deep_within_each_other_are_refused(tmp_path, pickled):
  path = torch_files.archive(tmp_path / 'x.bin', pickled, {})
  torch_files.refused(path, 'more than 100 objects within each other')


@pytest.mark.parametrize(
  'pickled', [b'\x80\x02\x85.', b'\x80\x02t.', b'(q\x00.']
)
def test_a_pickle_that_takes_from_an_empty_stack_is_refused(tmp_path, pickled):
  path = torch_files.archive(tmp_path / 'x.bin', pickled, {})
  torch_files.refused(path, 'its pickle is damaged')


def test_a_name_that_is_there_twice_is_refused(tmp_path):
  item = torch_files.text('w') + torch_files.tensor('0', 4, (4,), (1,)) + b's'
  path = torch_files.archive(
    tmp_path / 'x.bin',
    b'\x80\x02ccollections\nOrderedDict\n)R' + item + item + b'.',
    {'data/0': bytes(16)},
  )
  torch_files.refused(path, "duplicate name 'w'")


def test_a_deflated_archive_is_refused_unopened(tmp_path):
  path = torch_files.archive(
    tmp_path / 'x.bin',
    view(count=10**8, shape=(10**8,), strides=(1,)),
    {'data/0': bytes(4 * 10**8)},
    compression=zipfile.ZIP_DEFLATED,
  )
  assert path.stat().st_size < 10**6
  torch_files.refused(path, 'is compressed')


def test_a_member_in_two_places_is_refused(tmp_path):
  path = tmp_path / 'x.bin'
  torch_files.archive(path, view(), {'data/0': bytes(16)})
  with pytest.warns(UserWarning, match='Duplicate name'):
    with zipfile.ZipFile(path, 'a') as file:
      file.writestr('archive/data/0', bytes(16))
  torch_files.refused(path, 'unexpected member')


def test_bytes_in_the_other_order_are_refused(tmp_path):
  path = torch_files.archive(
    tmp_path / 'x.bin', view(), {'data/0': bytes(16), 'byteorder': b'big'}
  )
  torch_files.refused(path, 'must be little-endian')


def test_a_file_that_is_no_archive_is_refused(tmp_path):
  path = tmp_path / 'pytorch_model.bin'
  path.write_bytes(b'\x80\x02cos\nsystem\n.')
  torch_files.refused(tmp_path, 'must be a zip archive')
