"""A file appears complete, whoever writes it beside this process."""

import concurrent.futures
import errno
import fcntl
import os
import threading

import pytest

from hermesflow_jax.runtime import atomic_file
from hermesflow_jax.runtime import file_lock
from hermesflow_jax.runtime import folder_lock


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  """Else a machine that loses its power could leave an empty file."""
  events, replace = [], os.replace

  def replaced(*paths):
    events.append('name')
    replace(*paths)

  monkeypatch.setattr(os, 'fsync', lambda descriptor: events.append('disk'))
  monkeypatch.setattr(os, 'replace', replaced)
  atomic_file.write(tmp_path / 'a', b'data')
  assert events == ['disk', 'name']


def test_a_failed_write_leaves_the_file_of_another_process_alone(
  tmp_path, monkeypatch
):
  """The folder had no locks, and another process was first."""
  temporary = tmp_path / 'a.tmp'

  def lost(source, target):
    source.rename(target)
    temporary.write_bytes(b'of another')
    raise FileNotFoundError(2, 'No such file', str(source))

  monkeypatch.setattr(os, 'replace', lost)
  with pytest.raises(FileNotFoundError):
    atomic_file.write(tmp_path / 'a', b'data')
  assert temporary.read_bytes() == b'of another'


def test_processes_that_write_a_file_at_once_take_turns(tmp_path):
  """Threads open it as processes do; what they write is never mixed."""
  file = tmp_path / 'a'

  def write(number):
    atomic_file.write(file, bytes([number]) * 99_999)
    assert len(set(file.read_bytes())) == 1

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(write, range(64)))
  assert list(tmp_path.iterdir()) == [file]


def test_processes_without_locks_never_write_the_same_file(
  tmp_path, monkeypatch
):
  def unsupported(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, 'flock', unsupported)
  file = tmp_path / 'a'
  with atomic_file.replacing(file) as first:
    first.write(b'first')
    atomic_file.write(file, b'second')
    assert file.read_bytes() == b'second'
  assert file.read_bytes() == b'first'
  with pytest.raises(KeyboardInterrupt):
    with atomic_file.replacing(file):
      raise KeyboardInterrupt
  assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize('kind', ['link', 'loop', 'pipe', 'second name'])
def test_what_a_stranger_left_under_the_temporary_name_is_not_written(
  tmp_path, kind
):
  file, other = tmp_path / 'a', tmp_path / 'other'
  other.write_bytes(b'of another')
  temporary = tmp_path / 'a.tmp'
  if kind == 'pipe':
    os.mkfifo(temporary)
  elif kind == 'second name':
    os.link(other, temporary)
  else:
    temporary.symlink_to(other if kind == 'link' else temporary)
  atomic_file.write(file, b'data')
  assert file.read_bytes() == b'data' and not file.is_symlink()
  assert other.read_bytes() == b'of another'
  assert sorted(tmp_path.iterdir()) == [file, other]


@pytest.mark.parametrize('cause', ['holder', 'daemon'])
def test_a_lock_that_nobody_gives_is_one_line(tmp_path, monkeypatch, cause):
  """Another process is stopped, or the daemon of an NFS is absent."""
  monkeypatch.setattr(file_lock, 'LONGEST', 0.05)
  if cause == 'daemon':
    answered = threading.Event()
    monkeypatch.setattr(fcntl, 'flock', lambda *_: answered.wait(20))
  with open(tmp_path / 'a.tmp', 'wb') as holder:
    if cause == 'holder':
      fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(OSError) as error:
      atomic_file.write(tmp_path / 'a', b'data')
  assert str(error.value).startswith(
    f'{tmp_path}/a.tmp must be a file that can be locked, got no lock in 0.05 s'
  )
  assert not (tmp_path / 'a').exists()
  lock = folder_lock.FolderLock(tmp_path, 'run')
  if cause == 'daemon':
    with pytest.raises(OSError, match=r'run\.lock must be a file that can be'):
      lock.acquire()
    answered.set()


def test_a_lock_file_that_is_a_link_is_refused(tmp_path):
  (tmp_path / 'other').write_bytes(b'of another')
  (tmp_path / 'run.lock').symlink_to(tmp_path / 'other')
  with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
    folder_lock.FolderLock(tmp_path, 'run').acquire()
  assert (tmp_path / 'other').read_bytes() == b'of another'
