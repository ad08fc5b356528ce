"""Files in folders and in buckets: the same laws for both."""

import json
import os
import pathlib
import resource
import subprocess
import sys

import pytest

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer
from hermesflow_jax.training import metrics_log

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(params=['folder', 'bucket'])
def folder(request, tmp_path):
  """A folder of this machine, and one of a bucket."""
  if request.param == 'folder':
    return storage.path(tmp_path / 'run')
  request.getfixturevalue('bucket')
  return storage.path('gs://bucket/run')


@pytest.fixture
def no_gcsfs(monkeypatch):
  """As if gcsfs were not installed."""
  monkeypatch.setitem(sys.modules, 'gcsfs', None)
  storage._bucket.cache_clear()
  yield
  storage._bucket.cache_clear()


def test_a_name_keeps_what_it_means(bucket, tmp_path):
  assert storage.path('a/b') == pathlib.Path('a/b')
  assert storage.path(tmp_path) is tmp_path
  result = storage.path('gs://bucket/a') / 'b'
  assert str(result) == str(storage.path(str(result))) == 'gs://bucket/a/b'
  assert not storage.is_local(result) and storage.is_local(tmp_path)


@pytest.mark.parametrize('name', ['s3://a/b', 'file:///a', 'gs://', '://a'])
def test_other_schemes_are_refused(name):
  with pytest.raises(
    ValueError, match=f'path must be a folder or .* got {name}'
  ):
    storage.path(name)


def test_without_gcsfs_one_line_says_so(no_gcsfs):
  with pytest.raises(ValueError, match='gs:// needs `pip install gcsfs`'):
    storage.path('gs://bucket/a')
  assert storage.failures() == (OSError,)


def test_a_file_of_this_machine_wants_nothing_for_buckets(tmp_path):
  code = (
    'import sys; from hermesflow_jax.runtime import storage\n'
    'storage.write(storage.path(sys.argv[1]), b"x")\n'
    'print({"gcsfs", "fsspec", "etils", "tensorflow"} & set(sys.modules))'
  )
  message = subprocess.run(
    [sys.executable, '-c', code, str(tmp_path / 'a' / 'b')],
    cwd=ROOT,
    check=True,
    capture_output=True,
    text=True,
  ).stdout
  assert message == 'set()\n' and (tmp_path / 'a' / 'b').read_bytes() == b'x'


def test_what_is_written_is_there_whole(folder):
  data = bytes(range(256)) * 4 + b'\r\n--==0==--\r\n\n'
  storage.make_folder(folder)
  storage.write(folder / 'a' / 'b.bin', data)
  assert (folder / 'a' / 'b.bin').read_bytes() == data
  storage.write(folder / 'a' / 'b.bin', b'')
  assert (folder / 'a' / 'b.bin').read_bytes() == b''
  assert storage.list_names(folder / 'a') == ['b.bin']


def test_a_text_is_read_as_utf_8(folder):
  storage.write(folder / 'a.txt', 'ä\u2028ö\r\nü\n'.encode())
  with storage.open_text(folder / 'a.txt') as file:
    assert list(file) == ['ä\u2028ö\n', 'ü\n']


def test_a_folder_that_is_not_there_is_empty(folder):
  assert storage.list_names(folder / 'none') == []
  assert storage.list_files(folder / 'none') == {}
  storage.remove(folder / 'none')


def test_names_are_those_of_a_folder_alone(folder):
  for name in ('1/x', '1/y/z', '10/x', 'f', *(f'many/{n}' for n in range(50))):
    storage.write(folder / name, name.encode())
  assert sorted(storage.list_names(folder)) == ['1', '10', 'f', 'many']
  assert sorted(storage.list_names(folder / '1')) == ['x', 'y']
  assert sorted(storage.list_files(folder / '1')) == ['x', 'y/z']
  assert len(storage.list_files(folder / 'many')) == 50


def test_a_folder_made_in_a_browser_is_empty(bucket):
  bucket.put('run/', b'')
  root = storage.path('gs://bucket/run')
  assert storage.list_names(root) == [] and storage.list_files(root) == {}


def test_a_folder_is_removed_and_not_its_neighbor(folder):
  for name in ('1/x', '1/y/z', '10/x'):
    storage.write(folder / name, b'')
  storage.remove(folder / '1')
  assert sorted(storage.list_files(folder)) == ['10/x']


def test_a_stamp_changes_with_what_is_written(folder):
  storage.write(folder / 'a', b'1')
  before = storage.version_stamp(folder / 'a')
  assert (
    before
    == storage.version_stamp(folder / 'a')
    == storage.list_files(folder)['a']
  )
  storage.write(folder / 'a', b'2')
  assert before != storage.version_stamp(folder / 'a')


def test_readers_of_files_read_objects(folder):
  storage.write(folder / 'a.json', b'{"a": 1}')
  with storage.open_bytes(folder / 'a.json') as file:
    if isinstance(file, pathlib.Path):
      file = file.open('rb')
    with file:
      assert json.load(file) == {'a': 1}


def test_what_is_sent_is_where_it_was_meant_for(folder):
  with transfer.Outbox(folder / 'out') as outbox:
    (outbox.folder / 'deep').mkdir(parents=True)
    (outbox.folder / 'deep' / 'a').write_text('1')
    outbox.send()
    assert (folder / 'out' / 'deep' / 'a').read_bytes() == b'1'
    (outbox.folder / 'b').write_text('22')
  assert sorted(storage.list_files(folder / 'out')) == ['b', 'deep/a']


def test_only_what_changed_is_sent_again(bucket):
  with transfer.Outbox(storage.path('gs://bucket/out')) as outbox:
    (outbox.folder / 'a').write_text('1')
    (outbox.folder / 'b').write_text('1')
    outbox.send()
    (outbox.folder / 'a').write_text('22')
    bucket.seen.clear()
  assert bucket.seen == [('POST', 'out/a')]
  assert not outbox.folder.exists()


def test_a_copy_is_there_while_it_is_open(folder):
  for name in ('a', 'deep/b', 'c'):
    storage.write(folder / name, name.encode())
  with transfer.local_copy(folder, ['a', 'deep/b', 'missing']) as local:
    assert storage.is_local(local)
    assert (local / 'deep' / 'b').read_text() == 'deep/b'
    assert not (local / 'missing').exists()
  assert local.exists() == storage.is_local(folder)


@pytest.mark.parametrize('name', ['../a', '/tmp/a', 'x/../../a'])
def test_a_copy_stays_in_its_folder(bucket, name):
  bucket.put('a', b'1')
  with pytest.raises(ValueError, match='is not in gs://bucket/run'):
    with transfer.local_copy(storage.path('gs://bucket/run'), [name]):
      pass


@pytest.mark.parametrize(
  'name, result',
  [
    ('a.png', 'gs://bucket/run/a.png'),
    ('x/../a', 'gs://bucket/run/a'),
    ('../run/a', 'gs://bucket/run/a'),
    ('../a', None),
    ('/a', None),
    ('../runs/a', None),
    ('../../other/run/a', None),
    ('.', None),
  ],
)
def test_a_name_that_leaves_its_folder_is_none(bucket, name, result):
  path = storage.path_inside(storage.path('gs://bucket/run'), name)
  assert (path and str(path)) == result


def test_patterns_mean_files(bucket):
  for name in ('in/a.png', 'in/b.txt', 'in/deep/c.png'):
    bucket.put(name, b'')
  assert storage.glob('gs://bucket/in/*.png') == ['gs://bucket/in/a.png']
  assert storage.glob('gs://bucket/in/**/*.png') == [
    'gs://bucket/in/a.png',
    'gs://bucket/in/deep/c.png',
  ]


def test_of_several_who_create_one_does(bucket):
  file = storage.path('gs://bucket/run/settings.json')
  assert storage.create(file, b'first') and not storage.create(file, b'second')
  assert bucket.text('run/settings.json') == 'first'


def test_a_large_object_appears_whole(bucket):
  data = os.urandom(60 * 2**20)
  storage.write(storage.path('gs://bucket/large'), data)
  assert bucket.blobs['large'].data == data
  assert storage.path('gs://bucket/large').read_bytes() == data


@pytest.mark.parametrize('status', [401, 403])
def test_a_bucket_that_refuses_is_not_an_empty_one(bucket, status):
  bucket.put('run/a', b'1')
  bucket.fails = lambda method, name: status
  run = storage.path('gs://bucket/run')
  for call in (
    lambda: storage.list_names(run),
    lambda: storage.list_files(run),
    (run / 'a').read_bytes,
    (run / 'a').exists,
    lambda: storage.check_writable(run),
    lambda: storage.create(run, b''),
  ):
    with pytest.raises(storage.failures()):
      call()


def test_a_bucket_of_another_is_not_made(bucket):
  run = storage.path('gs://other/run')
  assert storage.list_names(run) == []
  with pytest.raises(FileNotFoundError):
    storage.write(run / 'a', b'')


def rows(text):
  return [json.loads(line)['step'] for line in text.splitlines()]


def test_what_is_measured_is_in_the_bucket_when_it_is_flushed(bucket):
  with metrics_log.MetricsLog('gs://bucket/run') as log:
    log(1, {'loss': 0.5})
    log.flush()
    log(2, {'loss': float('nan')})
    assert rows(bucket.text('run/metrics.jsonl')) == [1]
    assert len(bucket.names('run/events/')) == 1
  assert rows(bucket.text('run/metrics.jsonl')) == [1, 2]
  (file,) = bucket.names('run/events/')
  assert b'loss' in bucket.blobs[file].data


def test_what_is_measured_is_seen_after_a_while(bucket, monkeypatch):
  monkeypatch.setattr(metrics_log, '_EVERY', 0.0)
  log = metrics_log.MetricsLog('gs://bucket/run')
  log(1, {'loss': 0.5})
  assert rows(bucket.text('run/metrics.jsonl')) == [1]
  log.close()


def test_a_run_that_goes_on_forgets_what_came_after_its_checkpoint(bucket):
  with metrics_log.MetricsLog('gs://bucket/run') as log:
    for step in (1, 2, 3):
      log(step, {'loss': 0.5})
  metrics_log.MetricsLog('gs://bucket/run', 2).close()
  assert rows(bucket.text('run/metrics.jsonl')) == [1, 2]
  with metrics_log.MetricsLog('gs://bucket/run', 1) as log:
    log(2, {'loss': 0.25})
  assert rows(bucket.text('run/metrics.jsonl')) == [1, 2]
  assert '0.25' in bucket.text('run/metrics.jsonl')


def test_a_full_disk_is_named_with_the_file_and_gets_its_space_back(tmp_path):
  """Not simulated: no file may grow beyond a few bytes."""
  file = tmp_path / 'a'
  storage.write(file, b'old')
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
  try:
    with pytest.raises(OSError, match=f"File too large: '{file}'"):
      storage.write(file, bytes(1000))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert file.read_bytes() == b'old'
  assert list(tmp_path.iterdir()) == [file]


def test_the_layout_of_a_bucket_costs_no_request(bucket):
  assert type(storage._bucket()).__name__ == 'GCSFileSystem'
