"""Records in lock files: which process holds a lock, and on which machine.

Machines may have equal host names, and containers equal process ids. So a
record also has the boot id of the machine and the namespace of process ids,
where the system has them. Records of earlier releases have neither: of these
the host name is compared.
"""

import functools
import json
import os
import pathlib
import socket
import time

_BOOT = pathlib.Path('/proc/sys/kernel/random/boot_id')
_NAMESPACE = pathlib.Path('/proc/self/ns/pid')


def own(began: float, token: str) -> bytes:
  """Returns the record of this process.

  Args:
    began: when the job began, in seconds since 1970.
    token: text that no other lock has.
  """
  record = {
    'host': socket.gethostname(),
    'boot': boot_id(),
    'namespace': process_namespace(),
    'process': os.getpid(),
    'ticks': _start_ticks(os.getpid()),
    'token': token,
    'began': utc(began),
    'renewed': time.time(),
  }
  return json.dumps(record).encode()


def parse(content: bytes) -> dict | None:
  """Returns the record in a lock file; None if it holds no record.

  Args:
    content: what the file holds.
  """
  try:
    record = json.loads(content)
    return record | {
      'host': record['host'],
      'process': int(record['process']),
      'began': str(record.get('began', 'an unknown time')),
    }
  except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
    return None


def describe(record: dict | None) -> str:
  """Returns e.g. 'process 17 on node3 uses it since 2026-01-02 03:04 UTC'.

  Args:
    record: from `parse`.
  """
  if record is None:
    return 'another process uses it'
  return (
    f'process {record["process"]} on {record["host"]} uses it since '
    f'{record["began"]}'
  )


def utc(seconds: float) -> str:
  """Returns a time as text, e.g. '2026-01-02 03:04 UTC'.

  Args:
    seconds: seconds since 1970.
  """
  return time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(seconds))


def is_of_this_machine(record: dict) -> bool:
  """Returns whether a record was written since this machine was started.

  Args:
    record: from `parse`.
  """
  return _is_same(record, 'boot', boot_id())


def is_running(record: dict) -> bool | None:
  """Returns whether the process of a record runs; None if it is not known.

  Processes of other machines and of other containers are not visible. The
  begin of a process is not known on systems without `/proc`, and of another
  user's process where `/proc` hides it (`hidepid`).

  Args:
    record: from `parse`.
  """
  if not is_of_this_machine(record):
    return None
  if not _is_same(record, 'namespace', process_namespace()):
    return None
  ticks = _start_ticks(record['process'])
  if ticks is None:
    return False
  if not ticks or not record.get('ticks'):
    return None
  return ticks == record['ticks']


def is_held(record: dict, locked: bool) -> bool | None:
  """Returns whether a process holds a lock; None if it is not known.

  Args:
    record: from `parse`.
    locked: whether the caller holds the lock file by `flock`, which is certain
      on a single machine.
  """
  if locked and is_of_this_machine(record):
    return False
  return is_running(record)


def boot_id() -> str | None:
  """Returns the id that Linux gives a machine when it starts, else None."""
  try:
    return _BOOT.read_text().strip()
  except OSError:
    return None


@functools.cache
def process_namespace() -> int | None:
  """Returns the number of this process's namespace of process ids, or None."""
  try:
    return _NAMESPACE.stat().st_ino
  except OSError:
    return None


def _is_same(record, key, value) -> bool:
  if value is None or record.get(key) is None:
    return record['host'] == socket.gethostname()
  return record[key] == value


def _start_ticks(process: int) -> str | None:
  """Returns when a process of this host began; None if it has ended.

  '' if it runs and its begin is not known. A later process may have the same
  number, but not the same begin.

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
  except (ProcessLookupError, OverflowError):
    return None
  except OSError:
    pass  # It is of another user.
  return ''
