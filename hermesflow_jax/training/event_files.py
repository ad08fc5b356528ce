"""TensorBoard event files: plain scalars, no step twice after a restart."""

from collections.abc import Iterator
import os
import re
import socket
import struct
import time

from google.protobuf import message
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.proto import summary_pb2
from tensorboard.summary.writer import record_writer

from hermesflow_jax.runtime import storage

# Framing of a record: its length (uint64) and 4 bytes before, 4 bytes after.
_BEFORE, _AFTER = 12, 4


class ScalarWriter:
  """Writes scalars to a new event file.

  Args:
    file: path of the file, whose folder is made if it does not exist.

  Raises:
    OSError: the file cannot be written, here and in all methods.
  """

  def __init__(self, file):
    file.parent.mkdir(parents=True, exist_ok=True)
    self._file = record_writer.RecordWriter(open(file, 'wb'))  # noqa: SIM115
    self._write(file_version='brain.Event:2')
    self.flush()

  def add(self, step: int, scalars: dict[str, float]) -> None:
    """Adds the scalars of a step.

    Args:
      step: steps done.
      scalars: values by name.
    """
    values = [
      summary_pb2.Summary.Value(tag=name, simple_value=value)
      for name, value in scalars.items()
    ]
    self._write(step=step, summary=summary_pb2.Summary(value=values))

  def _write(self, **fields):
    event = event_pb2.Event(wall_time=time.time(), **fields)
    self._file.write(event.SerializeToString())

  def flush(self) -> None:
    """Writes what was added."""
    self._file.flush()

  def close(self) -> None:
    """Flushes and closes the file."""
    self._file.close()


def new_name(folder) -> str:
  """Returns a name for an event file, which sorts after all others there.

  TensorBoard reads the files of a folder in the order of their names, which
  begin with the second of their making. Two files can come in one second, and
  a run can go on where the clock is behind.

  Args:
    folder: folder of event files, which may not exist.
  """
  names = storage.list_names(folder)
  times = [
    int(n) for n in re.findall(r'\.tfevents\.(\d{10})\.', ' '.join(names))
  ]
  second = max([int(time.time()), *(t + 1 for t in times)])
  return (
    f'events.out.tfevents.{second:010d}.{socket.gethostname()}.{os.getpid()}'
  )


def forget_after(folder, step: int) -> None:
  """Removes later steps from all event files in a folder.

  Args:
    folder: folder of event files, which may not exist.
    step: last step that stays.

  Raises:
    OSError: a file cannot be read or written; for a bucket also other
      `storage.failures()`.
  """
  for name in storage.list_names(folder):
    if '.tfevents.' not in name or name.endswith('.tmp'):
      continue
    data = (folder / name).read_bytes()
    earlier = b''.join(
      record for record in _records(data) if _step(record) <= step
    )
    if earlier != data:
      storage.write(folder / name, earlier)


def _records(data: bytes) -> Iterator[bytes]:
  """Yields complete records; a killed process may leave a part of one."""
  start = 0
  while start + _BEFORE <= len(data):
    (length,) = struct.unpack_from('<Q', data, start)
    end = start + _BEFORE + length + _AFTER
    if end > len(data):
      return
    yield data[start:end]
    start = end


def _step(record: bytes) -> float:
  try:
    return event_pb2.Event.FromString(record[_BEFORE:-_AFTER]).step
  except message.DecodeError:
    return float('inf')  # Damaged: nothing can be shown from it.
