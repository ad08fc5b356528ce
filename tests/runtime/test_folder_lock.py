"""A folder is locked by one process at a time, and a dead one locks nothing."""

import json
import os
import subprocess
import sys
import time

import pytest

from hermesflow_jax.runtime import folder_lock

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

  monkeypatch.setattr(folder_lock.fcntl, 'flock', unsupported)
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


@pytest.mark.parametrize('content', ['', 'x', '[]', '{"host": 1}'])
def test_a_lock_without_a_record_is_stale(tmp_path, content):
  (tmp_path / 'run.lock').write_text(content)
  lock = folder_lock.FolderLock(tmp_path, 'run')
  lock.acquire()
  with pytest.raises(folder_lock.HeldError):
    folder_lock.FolderLock(tmp_path, 'run').acquire()
  assert folder_lock.holder_of(lock.path)
  lock.release()
  assert folder_lock.holder_of(lock.path) == ''
