"""Files and objects that are written in parts appear when they are complete."""

import memory_growth
import numpy as np
import pytest

from hermesflow_jax.runtime import file_streams
from hermesflow_jax.runtime import npz_files
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage


@pytest.fixture(params=['folder', 'bucket'])
def folder(request, tmp_path):
  """A folder of this machine, and one of a bucket."""
  if request.param == 'folder':
    return storage.path(tmp_path / 'run')
  request.getfixturevalue('bucket')
  return storage.path('gs://bucket/run')


def test_a_file_has_its_parts(folder):
  with file_streams.replacing(folder / 'a') as file:
    file.write(b'first, ')
    file.write(b'second')
    assert not storage.is_file(folder / 'a')
  assert (folder / 'a').read_bytes() == b'first, second'


def test_a_fault_leaves_the_earlier_file(folder):
  storage.write(folder / 'a', b'earlier')
  with pytest.raises(ValueError, match='wrong'):
    with file_streams.replacing(folder / 'a') as file:
      file.write(b'half')
      raise ValueError('wrong')
  assert (folder / 'a').read_bytes() == b'earlier'
  assert storage.list_names(folder) == ['a']


def test_a_bucket_that_refuses_raises_its_error(bucket):
  bucket.fails = lambda method, name: 403
  with pytest.raises(storage.failures()):
    with file_streams.replacing(storage.path('gs://bucket/a')) as file:
      file.write(b'1')


def test_lines_and_arrays_return(folder):
  rows = [{'id': str(n), 'caption': 'ä\u2028'} for n in range(3)]
  output_files.write_json_lines(folder / 'a.jsonl', rows)
  with storage.open_text(folder / 'a.jsonl') as file:
    assert ''.join(file) == output_files.json_lines(rows)
  npz_files.write(folder / 'a.npz', codes=np.arange(5))
  with storage.open_bytes(folder / 'a.npz') as file, np.load(file) as arrays:
    assert arrays['codes'].tolist() == [0, 1, 2, 3, 4]


def test_few_requests_read_a_long_text(bucket):
  bucket.put('long', b'0123456\n' * 2**17)
  with storage.open_text(storage.path('gs://bucket/long')) as file:
    assert sum(1 for _ in file) == 2**17
  # A thread of an earlier test may still read another object.
  assert 1 <= sum(name == 'long' for _, name in bucket.seen) < 5


def test_memory_does_not_hold_the_lines_of_an_object(monkeypatch, tmp_path):
  """Only the client of the bucket is left out; it reads the file in parts."""

  class Client:
    def put_file(self, source, target):
      assert target == 'gs://bucket/a'

  monkeypatch.setattr(
    file_streams.bucket_client, 'filesystem', lambda: Client()
  )
  target = storage.path('gs://bucket/a')

  def write(count):
    rows = ({'text': 'a' * 1_000} for _ in range(count))
    output_files.write_json_lines(target, rows)

  memory_growth.check_below(500, write, 100, 600)
