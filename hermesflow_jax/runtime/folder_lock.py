"""Locks of folders: no two jobs write into a folder at the same time.

A lock is a small file that names its process. While a job runs, it holds the
file by `flock`, and renews the file's time. So a lock is stale if nobody holds
it by `flock` and

* its process ran on this machine, or
* its time is old, or does not change while another job watches the file.

A bucket has no `flock`: there an object is created if it is absent and written
again at intervals. A job whose lock was taken over, e.g. after its machine was
asleep, ends when it sees the other process in the lock.
"""

from collections.abc import Callable
import contextlib
import math
import os
import pathlib
import threading
import time
from typing import NoReturn
import uuid

from hermesflow_jax.runtime import atomic_file
from hermesflow_jax.runtime import entry_point
from hermesflow_jax.runtime import file_lock
from hermesflow_jax.runtime import lock_record
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


def _end_process(line: str) -> NoReturn:
  """Ends the process: nothing more is written into the other job's folder."""
  entry_point.print_error(f'error: {line}')
  os._exit(1)


class FolderLock:
  """A lock of a folder.

  Args:
    folder: folder path; it exists if it is local.
    name: lock name.
    say: prints that the job waits for a lock of another host.
    end: ends the job if another process has taken over the lock; its argument
      is the reason.
  """

  def __init__(
    self,
    folder: pathlib.PurePath,
    name: str,
    say: Callable[[str], None] = lambda line: None,
    end: Callable[[str], None] = _end_process,
  ):
    self.path = folder / f'{name}{SUFFIX}'
    self._say, self._end = say, end
    self._file, self._began, self._token = None, time.time(), uuid.uuid4().hex
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
    """Ends the renewal, and removes the file unless another job owns it."""
    self._stop.set()
    self._thread.join()
    # The folder may have been renamed or removed.
    with contextlib.suppress(*storage.failures()):
      if (self._holder() or {}).get('token') == self._token:
        if self._file is None:
          storage.remove(self.path)
        else:
          self.path.unlink()
    if self._file is not None:
      os.close(self._file)

  def check_free(self, other: pathlib.PurePath) -> None:
    """Checks that nobody holds another lock of the folder; needs this lock.

    Args:
      other: lock file.

    Raises:
      HeldError: a process holds it. If that is not known, because the process
        ran on another machine, the message names the time when the lock is
        stale.
    """
    content, locked = b'', False
    with contextlib.suppress(FileNotFoundError):
      if storage.is_local(other):
        # Locks of other users can only be read.
        mode = 'r+b' if os.access(other, os.W_OK) else 'rb'
        with open(other, mode) as file:
          locked = _flock(file.fileno(), other)
          content = file.read()
      else:
        content = other.read_bytes()
    record = lock_record.parse(content)
    held = record is not None and lock_record.is_held(record, locked)
    if held is None:
      held = (end := self._stale_from(other, record)) > self._now()
      if held:
        raise HeldError(
          f'{lock_record.describe(record)}; if it was killed, {other} is '
          f'stale from {lock_record.utc(math.ceil(end / 60) * 60)}'
        )
    if held:
      raise HeldError(lock_record.describe(record))

  def _stale_from(self, other, record) -> float:
    """Returns when an unrenewed lock is stale, in seconds since 1970."""
    try:
      if storage.is_local(other):
        return other.stat().st_mtime + _WATCHED * _RENEWAL
      return float(record['renewed']) + _OLD
    except (FileNotFoundError, KeyError, ValueError, TypeError):
      return 0.0

  def _now(self) -> float:
    """Returns the time: of the file system, whose clock may differ, if any."""
    if not storage.is_local(self.path):
      return time.time()
    os.utime(self._file)
    return self.path.stat().st_mtime

  def _lock_file(self) -> int:
    """Returns the descriptor of the lock file, held by `flock`."""
    while True:
      file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
      try:
        locked = _flock(file, self.path)
        if not atomic_file.is_at(file, self.path):
          # Its holder has removed the file since it was opened.
          os.close(file)
          continue
        self._check_stale(_read(file), locked)
        os.truncate(file, 0)
        os.pwrite(file, self._record(), 0)
        return file
      except BaseException:
        os.close(file)
        raise

  def _create_object(self) -> None:
    if storage.create(self.path, self._record()):
      return
    with contextlib.suppress(FileNotFoundError):
      self._check_stale(self.path.read_bytes(), locked=False)
    storage.write(self.path, self._record())
    # Another job may have taken over the same lock.
    holder = self._holder() or {}
    if holder.get('token') != self._token:
      raise HeldError(lock_record.describe(holder or None))

  def _check_stale(self, content: bytes, locked: bool) -> None:
    """Raises HeldError unless the process in the lock's record has ended.

    Args:
      content: the lock's record; empty for a new file.
      locked: whether this process holds the file by `flock`.
    """
    record = lock_record.parse(content)
    held = record is not None and lock_record.is_held(record, locked)
    if held:
      raise HeldError(lock_record.describe(record))
    if held is False or time.time() - self._renewed() > _OLD:
      return
    seconds = _WATCHED * self._interval()
    self._say(
      f'{self.path} is of process {record["process"]} on {record["host"]}: '
      f'watching for {seconds:.0f} s whether it still runs'
    )
    first, end = self._stamp(), time.monotonic() + seconds
    while time.monotonic() < end:
      time.sleep(min(1.0, seconds / 10))
      if self._stamp() != first:
        raise HeldError(lock_record.describe(record))

  def _interval(self) -> float:
    return _RENEWAL if storage.is_local(self.path) else _BUCKET_RENEWAL

  def _record(self) -> bytes:
    return lock_record.own(self._began, self._token)

  def _holder(self) -> dict | None:
    """Returns the lock's record; None if it is absent or being written."""
    try:
      return lock_record.parse(self.path.read_bytes())
    except FileNotFoundError:
      return None

  def _renewed(self) -> float:
    """Returns the time of the last renewal, in seconds since 1970."""
    if storage.is_local(self.path):
      return self.path.stat().st_mtime
    try:
      return float((self._holder() or {})['renewed'])
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
        holder = self._holder()
        if holder is not None and holder.get('token') != self._token:
          self._end(
            f'{self.path} must be of this job, got another: '
            f'{lock_record.describe(holder)}. This job was taken for dead, and '
            'ends; the same command resumes when the other job has ended'
          )
          return
        if self._file is not None:
          os.utime(self._file)
        elif holder is None:
          storage.create(self.path, self._record())
        else:
          storage.write(self.path, self._record())


def _flock(file: int, path: pathlib.PurePath) -> bool:
  """Locks an open file; returns False on file systems without locks.

  Raises:
    HeldError: another process holds it.
    OSError: the file system does not answer.
  """
  try:
    return file_lock.acquire(file, path, wait=False)
  except BlockingIOError as error:
    record = lock_record.parse(_read(file))
    raise HeldError(lock_record.describe(record)) from error


def _read(file: int) -> bytes:
  return os.pread(file, 10_000, 0)
