"""Where a run writes what it measured: TensorBoard events and JSON lines."""

import hashlib
import json
import math
import os
import pathlib
import time

from tensorboard.summary import Writer

from hermesflow_jax import processes


class Log:
  """Scalars of a run, to `<folder>/events` and `<folder>/metrics.jsonl`.

  JSON lines are flushed one by one, so a killed run keeps what it measured; a
  value that is not finite is written as null. Only the first process writes.

  Args:
    folder: where.
    step: the run goes on after this one; lines of later ones are forgotten.
  """

  def __init__(self, folder: str, step: int = 0):
    self._lines = self._events = None
    if not processes.is_first():
      return
    path = pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    lines = path / 'metrics.jsonl'
    _forget_after(lines, step)
    self._lines = open(lines, 'a', encoding='utf-8')
    self._events = Writer(str(path / 'events'))

  def __call__(self, step: int, metrics: dict[str, float]) -> None:
    """Writes the scalars of one step."""
    if not self._lines:
      return
    for name, value in metrics.items():
      self._events.add_scalar(name, value, step=step)
    row = {'step': step, 'time': time.time()} | {
        k: float(v) if math.isfinite(v) else None for k, v in metrics.items()
    }
    self._lines.write(json.dumps(row, allow_nan=False) + '\n')
    self._lines.flush()

  def close(self) -> None:
    """Flushes and closes both files."""
    if not self._lines:
      return
    self._lines.close()
    self._events.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()


def _forget_after(lines: pathlib.Path, step: int) -> None:
  """Takes away what a run that ended in between wrote after its checkpoint."""
  if not lines.exists():
    return
  kept = []
  for line in lines.read_text(encoding='utf-8').splitlines(keepends=True):
    try:
      if json.loads(line)['step'] <= step:
        kept.append(line)
    except (ValueError, TypeError, KeyError):
      pass  # The process was killed while it wrote the line.
  write_atomically(lines, ''.join(kept))


def write_atomically(path: str, data: str | bytes) -> None:
  """Writes a file that appears whole or not at all: by the first process."""
  if not processes.is_first():
    return
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # One name, so that what a killed process left is written over.
  temporary = path.with_name(path.name + '.tmp')
  with open(temporary, 'wb') as file:
    file.write(data.encode() if isinstance(data, str) else data)
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)


def sha256(path: str) -> str:
  """Returns the SHA-256 of a file; ValueError if it cannot be read."""
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
