"""A folder is locked by one process at a time, and a dead one locks nothing."""

import concurrent.futures
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import lock_record
from hermesflow_jax.runtime import lock_turn
from hermesflow_jax.runtime import storage

HOLDER = """
import pathlib, sys, time
from hermesflow_jax.runtime import folder_lock
folder_lock.FolderLock(pathlib.Path(sys.argv[1]), 'run').acquire()
print('locked', flush=True)
time.sleep(60)
"""


@pytest.fixture
def other_process(tmp_path):
  """A process that holds the lock of `tmp_path`."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'locked\n'
  yield process
  process.kill()
  process.wait()
  process.stdout.close()


def write_lock(folder, **record):
  """Writes the lock of a process that may be of another host."""
  path = folder / 'run.lock'
  record = {'host': 'elsewhere', 'process': 7, 'began': 'noon'} | record
  path.write_text(json.dumps(record))
  return path


@pytest.fixture
def fast(monkeypatch):
  """Renews and watches locks within tenths of seconds."""
  monkeypatch.setattr(folder_lock, '_RENEWAL', 0.1)
  monkeypatch.setattr(folder_lock, '_BUCKET_RENEWAL', 0.1)


def test_a_lock_that_a_process_holds_names_it_and_its_end_frees_it(
  other_process, tmp_path
):
  lock = folder_lock.FolderLock(tmp_path, 'run')
  with pytest.raises(
    folder_lock.HeldError, match=f'process {other_process.pid} on .* uses it'
  ):
    lock.acquire()
  other_process.kill()
  other_process.wait()
  assert (tmp_path / 'run.lock').exists()
  lock.acquire()
  lock.release()
  assert not any(tmp_path.iterdir())


def test_without_flock_a_process_of_this_host_is_known_by_its_number(
  other_process, tmp_path, monkeypatch
):
  def unsupported(*_):
    raise OSError('no locks available')

  monkeypatch.setattr(fcntl, 'flock', unsupported)
  lock = folder_lock.FolderLock(tmp_path, 'run')
  with pytest.raises(folder_lock.HeldError, match=f'{other_process.pid}'):
    lock.acquire()
  # A later process got the number of the one that died.
  record = json.loads((tmp_path / 'run.lock').read_text())
  write_lock(tmp_path, **record | {'ticks': '1'})
  lock.acquire()
  lock.release()


def test_a_lock_of_another_host_is_watched(tmp_path, fast):
  lines = []
  lock = folder_lock.FolderLock(tmp_path, 'run', lines.append)
  path = write_lock(tmp_path)
  lock.acquire()
  lock.release()
  assert 'of process 7 on elsewhere: watching for' in lines[0]

  path = write_lock(tmp_path)
  real = folder_lock.FolderLock._stamp
  stamps = iter(range(9))
  lock._stamp = lambda: next(stamps)
  with pytest.raises(
    folder_lock.HeldError, match='process 7 on elsewhere uses it since noon'
  ):
    lock.acquire()
  lock._stamp = lambda: real(lock)
  # An old lock needs no watching.
  os.utime(path, (1, 1))
  lines.clear()
  lock.acquire()
  lock.release()
  assert not lines


def test_a_holder_renews_its_lock(tmp_path, fast):
  lock = folder_lock.FolderLock(tmp_path, 'run')
  lock.acquire()
  os.utime(lock.path, (1, 1))
  deadline = time.monotonic() + 20
  while lock.path.stat().st_mtime == 1:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  lock.release()


@pytest.mark.parametrize(
  'content',
  [
    '',
    'x',
    '[]',
    '{"host": 1}',
    '{"host": "a", "process": Infinity}',
    '[' * 9000,
  ],
)
def test_a_lock_without_a_record_is_stale(tmp_path, content):
  (tmp_path / 'run.lock').write_text(content)
  lock = folder_lock.FolderLock(tmp_path, 'run')
  lock.acquire()
  with pytest.raises(folder_lock.HeldError):
    folder_lock.FolderLock(tmp_path, 'run').acquire()
  with held(tmp_path, 'other') as other:
    with pytest.raises(folder_lock.HeldError, match='uses it since'):
      other.check_free(lock.path)
    lock.release()
    other.check_free(lock.path)


@contextlib.contextmanager
def held(folder, name='run', **options):
  """A lock that this process holds."""
  lock = folder_lock.FolderLock(folder, name, **options)
  lock.acquire()
  try:
    yield lock
  finally:
    lock.release()


def in_three_renewals(path):
  """Makes a local lock older than a holder lets it become."""
  seconds = time.time() - folder_lock._WATCHED * folder_lock._RENEWAL - 1
  os.utime(path, (seconds, seconds))


def test_a_lock_beside_it_of_another_machine_is_stale_by_age(tmp_path):
  with held(tmp_path, 'share_of_2_0') as lock:
    other = write_lock(tmp_path)
    with pytest.raises(
      folder_lock.HeldError,
      match=r'process 7 on elsewhere uses it since noon; if it was killed, '
      r'.*/run.lock is stale from 20\d\d-\d\d-\d\d \d\d:\d\d UTC$',
    ):
      lock.check_free(other)
    in_three_renewals(other)
    lock.check_free(other)


def test_a_lock_beside_it_in_a_bucket_is_stale_by_age(bucket):
  folder = storage.path('gs://bucket/run')
  record = {'host': 'elsewhere', 'process': 7, 'began': 'noon'}
  with held(folder, 'share_of_2_0') as lock:
    for age, match in (
      (9, 'if it was killed, gs://bucket/run/run.lock is stale from 20'),
      (11, None),
    ):
      record['renewed'] = time.time() - 60 * age
      bucket.put('run/run.lock', json.dumps(record).encode())
      with (
        pytest.raises(folder_lock.HeldError, match=match)
        if match
        else contextlib.nullcontext()
      ):
        lock.check_free(folder / 'run.lock')


@pytest.mark.parametrize('changed', ['boot', 'namespace'])
def test_equal_host_names_and_process_ids_are_not_the_same_process(
  tmp_path, monkeypatch, fast, changed
):
  """Without flock, as between two machines."""
  monkeypatch.setattr(folder_lock, '_flock', lambda *_: False)
  ended = {
    'host': socket.gethostname(),
    'process': os.getpid(),
    'ticks': 'of a process that has ended',
    'boot': lock_record.boot_id(),
    'namespace': lock_record.process_namespace(),
  }
  lines = []
  lock = folder_lock.FolderLock(tmp_path, 'run', lines.append)
  write_lock(tmp_path, **ended)
  lock.acquire()
  lock.release()
  assert not lines
  # Not dead at once: it is watched, and renews its lock.
  write_lock(tmp_path, **ended | {changed: 'another'})
  stamps = iter(range(9))
  lock._stamp = lambda: next(stamps)
  with pytest.raises(folder_lock.HeldError):
    lock.acquire()
  assert 'watching for' in lines[0]


def test_a_lock_without_holder_on_this_machine_is_stale_at_once(tmp_path):
  """Of a container that has ended: its host name and ids were its own."""
  write_lock(tmp_path, boot=lock_record.boot_id(), namespace=1)
  lines = []
  with held(tmp_path, say=lines.append):
    assert not lines


@pytest.mark.parametrize('place', ['folder', 'bucket'])
def test_a_holder_leaves_the_lock_of_its_successor_alone(
  place, bucket, tmp_path, fast
):
  folder = tmp_path if place == 'folder' else storage.path('gs://bucket/run')
  lines, ended = [], threading.Event()

  def end(line):
    lines.append(line)
    ended.set()

  with held(folder, end=end) as lock:
    # As a job that holds this one for dead.
    record = {'host': 'elsewhere', 'process': 7, 'began': 'noon'}
    successor = json.dumps(record | {'token': 'another'}).encode()
    lock.path.write_bytes(successor)
    assert ended.wait(20)
  assert lock.path.read_bytes() == successor
  (line,) = lines
  assert 'process 7 on elsewhere uses it since noon' in line
  assert 'taken for dead' in line and '\n' not in line


def test_turns_follow_each_other(tmp_path):
  order = []

  def work(number):
    with lock_turn.wait(tmp_path, 'start'):
      order.append(number)
      time.sleep(0.01)
      order.append(number)

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(4)))
  assert order[::2] == order[1::2]
  assert not any(tmp_path.iterdir())
  with held(tmp_path, 'start'), pytest.raises(folder_lock.HeldError):
    with lock_turn.wait(tmp_path, 'start', seconds=0.0):
      pass


def test_a_long_wait_names_the_holder_once(tmp_path, monkeypatch):
  monkeypatch.setattr(lock_turn, '_SILENT', 0.0)
  lines = []
  with held(tmp_path, 'start'), pytest.raises(folder_lock.HeldError):
    with lock_turn.wait(tmp_path, 'start', 0.2, lines.append):
      pass
  (line,) = lines
  assert line.startswith(f'waiting for {tmp_path}/start.lock: process ')
  assert 'uses it since' in line
