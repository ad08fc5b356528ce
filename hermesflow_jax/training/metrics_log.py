"""Writes metrics as TensorBoard events and JSON lines."""

import contextlib
import json
import math
import time

from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer

# Least seconds between two flushes into a bucket.
_EVERY = 30.0


class MetricsLog:
  """Writes scalars to `<folder>/events` and `<folder>/metrics.jsonl`.

  Both are flushed at each step, so a killed run keeps all its metrics. Values
  that are not finite are null in JSON. Only the first process writes. In a
  bucket both files are rewritten at each flush, so a killed run keeps the
  metrics before its last flush.

  Args:
    folder: run folder, may be in a bucket.
    step: step at which the run resumes; later steps are removed.

  Raises:
    OSError: a file cannot be written, here and in all methods; for a bucket
      also other `storage.failures()`.
  """

  def __init__(self, folder: str, step: int = 0):
    self._lines = self._events = None
    if not processes.is_first():
      return
    # With tensorboard.
    from hermesflow_jax.training import event_files

    self._folder = path = storage.path(folder)
    storage.make_folder(path)
    lines = path / 'metrics.jsonl'
    text = _forget_after(lines, step)
    if storage.is_local(path):
      self._lines = open(lines, 'a', encoding='utf-8')  # noqa: SIM115
    else:
      self._lines = _RewrittenFile(lines, text)
    event_files.forget_after(path / 'events', step)
    self._outbox = transfer.Outbox(path / 'events')
    self._events = event_files.ScalarWriter(
      self._outbox.folder / event_files.new_name(path / 'events')
    )
    self._flushed = time.monotonic()

  def __call__(self, step: int, metrics: dict[str, float]) -> None:
    """Writes the scalars of a step.

    Args:
      step: steps done.
      metrics: scalars by name.
    """
    if not self._lines:
      return
    with self._named_failure():
      self._write(step, metrics)

  def _write(self, step, metrics):
    self._events.add(step, metrics)
    row = {'step': step, 'time': time.time()} | {
      k: float(v) if math.isfinite(v) else None for k, v in metrics.items()
    }
    self._lines.write(json.dumps(row, allow_nan=False) + '\n')
    if isinstance(self._lines, _RewrittenFile):
      if time.monotonic() - self._flushed > _EVERY:
        self.flush()
    else:
      self._lines.flush()
      self._events.flush()

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
    with self._named_failure(), contextlib.ExitStack() as closing:
      # In this order, all of them also if the disk is full.
      closing.callback(self._outbox.close)
      closing.callback(self._events.close)
      closing.callback(self._lines.close)

  @contextlib.contextmanager
  def _named_failure(self):
    """Names the folder where the system does not, e.g. if the disk is full."""
    try:
      yield
    except OSError as error:
      raise OSError(
        f'metrics in {self._folder} could not be written: '
        f'{error.strerror or error}'
      ) from error

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
