"""Locks of folders: no two jobs write into a folder at the same time.

A lock is a small file with host, process id and time. While a job runs, it
holds the file by `flock`, and renews the file's time. So a lock is stale if
nobody holds it by `flock` and

* its process ran on this host, or
* its time is old, or does not change while another job watches the file.

A bucket has no `flock`: there an object is created if it is absent and written
again at intervals. If two jobs take over a stale object within the same second,
both run.
"""

from collections.abc import Callable
import contextlib
import fcntl
import json
import os
import pathlib
import socket
import threading
import time

from hermesflow_jax.runtime import storage

# Suffix of lock files.
SUFFIX = '.lock'
# Seconds between two renewals of a file; of an object of a bucket, which costs
# a request.
_RENEWAL, _BUCKET_RENEWAL = 10.0, 60.0
# Renewals that a job waits for before it takes over a lock of another host.
_WATCHED = 3
# Seconds after which a lock of another host is stale without watching. Clocks
# of hosts may differ by less.
_OLD = 600.0


class HeldError(ValueError):
  """Another job holds a lock; the message names its process."""


class FolderLock:
  """A lock of a folder.

  Args:
    folder: folder path; it exists if it is local.
    name: lock name.
    say: prints that the job waits for a lock of another host.
  """

  def __init__(
    self,
    folder: pathlib.PurePath,
    name: str,
    say: Callable[[str], None] = lambda line: None,
  ):
    self.path = folder / f'{name}{SUFFIX}'
    self._say, self._file, self._began = say, None, time.time()
    self._stop, self._thread = threading.Event(), None

  def acquire(self) -> None:
    """Acquires the lock, and renews it until `release`.

    Raises:
      HeldError: another job holds it.
      OSError: the file cannot be written; for a bucket also other
        `storage.failures()`.
    """
    if storage.is_local(self.path):
      self._file = self._lock_file()
    else:
      self._create_object()
    self._thread = threading.Thread(target=self._renew_regularly, daemon=True)
    self._thread.start()

  def release(self) -> None:
    """Ends the renewal and removes the file."""
    self._stop.set()
    self._thread.join()
    if self._file is None:
      with contextlib.suppress(*storage.failures()):
        storage.remove(self.path)
      return
    # The folder may have been renamed or removed.
    with contextlib.suppress(OSError):
      if _is_at(self._file, self.path):
        self.path.unlink()
    os.close(self._file)

  def _lock_file(self) -> int:
    """Returns the descriptor of the lock file, held by `flock`."""
    while True:
      file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
      try:
        locked = _flock(file)
        if not _is_at(file, self.path):
          # Its holder has removed the file since it was opened.
          os.close(file)
          continue
        self._check_stale(_read(file), locked)
        os.truncate(file, 0)
        os.pwrite(file, _own_record(self._began), 0)
        return file
      except BaseException:
        os.close(file)
        raise

  def _create_object(self) -> None:
    if storage.create(self.path, _own_record(self._began)):
      return
    with contextlib.suppress(FileNotFoundError):
      self._check_stale(self.path.read_bytes(), locked=False)
    storage.write(self.path, _own_record(self._began))

  def _check_stale(self, content: bytes, locked: bool) -> None:
    """Raises HeldError unless the process in the lock's record has ended.

    Args:
      content: the lock's record; empty for a new file.
      locked: whether this process holds the file by `flock`.
    """
    try:
      holder = json.loads(content)
      host, process = holder['host'], int(holder['process'])
    except (ValueError, KeyError, TypeError):
      return
    if host == socket.gethostname():
      if not locked and _start_ticks(process) == holder.get('ticks'):
        raise HeldError(_describe(content))
      return
    if time.time() - self._renewed() > _OLD:
      return
    seconds = _WATCHED * self._interval()
    self._say(
      f'{self.path} is of process {process} on {host}: watching for '
      f'{seconds:.0f} s whether it still runs'
    )
    first, end = self._stamp(), time.monotonic() + seconds
    while time.monotonic() < end:
      time.sleep(min(1.0, seconds / 10))
      if self._stamp() != first:
        raise HeldError(_describe(content))

  def _interval(self) -> float:
    return _RENEWAL if storage.is_local(self.path) else _BUCKET_RENEWAL

  def _renewed(self) -> float:
    """Returns the time of the last renewal, in seconds since 1970."""
    if storage.is_local(self.path):
      return self.path.stat().st_mtime
    try:
      return float(json.loads(self.path.read_bytes())['renewed'])
    except (*storage.failures(), ValueError, KeyError, TypeError):
      return time.time()

  def _stamp(self):
    """Returns a value that changes with each renewal; None without a file."""
    try:
      if not storage.is_local(self.path):
        return storage.version_stamp(self.path)
      # Opened, as network file systems then ask the server.
      with open(self.path, 'rb') as file:
        return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
      return None

  def _renew_regularly(self) -> None:
    while not self._stop.wait(self._interval()):
      # A server that does not answer for a while must not end the job.
      with contextlib.suppress(*storage.failures()):
        if self._file is None:
          storage.write(self.path, _own_record(self._began))
        else:
          os.utime(self._file)


def holder_of(path: pathlib.PurePath) -> str:
  """Returns who holds a local lock file; '' if nobody on this host does.

  Args:
    path: lock file.
  """
  try:
    file = os.open(path, os.O_RDWR)
  except OSError:
    return ''
  try:
    _flock(file)
  except HeldError as error:
    return str(error)
  finally:
    os.close(file)
  return ''


def _flock(file: int) -> bool:
  """Locks an open file; returns False on file systems without locks.

  Raises:
    HeldError: another process holds it.
  """
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    raise HeldError(_describe(_read(file))) from error
  except OSError:
    return False
  return True


def _is_at(file: int, path) -> bool:
  """Returns whether a path still names an open file."""
  try:
    return os.path.samestat(os.fstat(file), os.stat(path))
  except FileNotFoundError:
    return False


def _read(file: int) -> bytes:
  return os.pread(file, 10_000, 0)


def _own_record(began: float) -> bytes:
  record = {
    'host': socket.gethostname(),
    'process': os.getpid(),
    'ticks': _start_ticks(os.getpid()),
    'began': time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(began)),
    'renewed': time.time(),
  }
  return json.dumps(record).encode()


def _describe(content: bytes) -> str:
  """Returns e.g. 'process 17 on node3 uses it since 2026-01-02 03:04 UTC'."""
  try:
    holder = json.loads(content)
    return (
      f'process {holder["process"]} on {holder["host"]} uses it since '
      f'{holder["began"]}'
    )
  except (ValueError, KeyError, TypeError):
    return 'another process uses it'


def _start_ticks(process: int) -> str | None:
  """Returns when a process of this host began; None if it has ended.

  A later process may have the same number, but not the same begin.

  Args:
    process: process id.
  """
  try:
    text = pathlib.Path(f'/proc/{process}/stat').read_text()
    # The name of the program may have spaces and brackets.
    return text.rpartition(')')[2].split()[19]
  except OSError:
    pass
  try:
    os.kill(process, 0)
  except ProcessLookupError:
    return None
  except OSError:
    pass
  return ''
