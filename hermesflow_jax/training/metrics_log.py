"""Writes metrics as TensorBoard events and JSON lines."""

import json
import math
import time

from tensorboard.summary import Writer

from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer

# Least seconds between two flushes into a bucket.
_EVERY = 30.0


class MetricsLog:
  """Writes scalars to `<folder>/events` and `<folder>/metrics.jsonl`.

  Each JSON line is flushed, so a killed run keeps all its metrics. Values that
  are not finite are written as null. Only the first process writes. In a bucket
  both files are rewritten at each flush, so a killed run keeps the metrics
  before its last flush.

  Args:
    folder: run folder, may be in a bucket.
    step: step at which the run resumes; later lines are removed.
  """

  def __init__(self, folder: str, step: int = 0):
    self._lines = self._events = None
    if not processes.is_first():
      return
    path = storage.path(folder)
    storage.make_folder(path)
    lines = path / 'metrics.jsonl'
    text = _forget_after(lines, step)
    if storage.is_local(path):
      self._lines = open(lines, 'a', encoding='utf-8')  # noqa: SIM115
    else:
      self._lines = _RewrittenFile(lines, text)
    self._outbox = transfer.Outbox(path / 'events')
    self._events = Writer(str(self._outbox.folder))
    self._flushed = time.monotonic()

  def __call__(self, step: int, metrics: dict[str, float]) -> None:
    """Writes the scalars of a step.

    Args:
      step: steps done.
      metrics: scalars by name.
    """
    if not self._lines:
      return
    for name, value in metrics.items():
      self._events.add_scalar(name, value, step=step)
    row = {'step': step, 'time': time.time()} | {
      k: float(v) if math.isfinite(v) else None for k, v in metrics.items()
    }
    self._lines.write(json.dumps(row, allow_nan=False) + '\n')
    if isinstance(self._lines, _RewrittenFile):
      if time.monotonic() - self._flushed > _EVERY:
        self.flush()
    else:
      self._lines.flush()

  def flush(self) -> None:
    """Writes both files, if they are in a bucket."""
    if not isinstance(self._lines, _RewrittenFile):
      return
    self._lines.flush()
    self._events.flush()
    self._outbox.send()
    self._flushed = time.monotonic()

  def close(self) -> None:
    """Flushes and closes both files."""
    if not self._lines:
      return
    self._lines.close()
    self._events.close()
    self._outbox.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()


class _RewrittenFile:
  """A text file in a bucket, where nothing can be appended to a file."""

  def __init__(self, path, text: str):
    self._path, self._text, self._written = path, text, text

  def write(self, text: str) -> None:
    """Adds text, to be written by `flush`."""
    self._text += text

  def flush(self) -> None:
    """Writes the whole file if its text has changed.

    Raises:
      storage.failures: the bucket cannot be written.
    """
    if self._text != self._written:
      storage.write(self._path, self._text.encode())
      self._written = self._text

  def close(self) -> None:
    """Flushes the text."""
    self.flush()


def _forget_after(lines, step: int) -> str:
  """Removes lines after step `step`, and returns the other lines."""
  if not lines.exists():
    return ''
  earlier = []
  with storage.open_text(lines) as file:
    text = file.read()
  for line in text.splitlines(keepends=True):
    try:
      if json.loads(line)['step'] <= step:
        earlier.append(line)
    except (ValueError, TypeError, KeyError):
      pass  # A killed process wrote only a part of the line.
  output_files.write_atomically(lines, ''.join(earlier))
  return ''.join(earlier)
