"""Where a run writes what it measured: TensorBoard events and JSON lines."""

import json
import math
import time

from tensorboard.summary import Writer

from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer

# Seconds between two looks at a run that writes into a bucket, at least.
_EVERY = 30.0


class MetricsLog:
  """Scalars of a run, to `<folder>/events` and `<folder>/metrics.jsonl`.

  JSON lines are flushed one by one, so a killed run keeps what it measured; a
  value that is not finite is written as null. Only the first process writes.
  Into a bucket both are written now and then, and whole: a killed run keeps
  what it measured before its last `flush`.

  Args:
    folder: where.
    step: the run goes on after this one; lines of later ones are forgotten.
  """

  def __init__(self, folder: str, step: int = 0):
    self._lines = self._events = None
    if not processes.is_first():
      return
    path = storage.path(folder)
    storage.make_folder(path)
    lines = path / 'metrics.jsonl'
    kept = _forget_after(lines, step)
    if storage.is_local(path):
      self._lines = open(lines, 'a', encoding='utf-8')
    else:
      self._lines = _Whole(lines, kept)
    self._outbox = transfer.Outbox(path / 'events')
    self._events = Writer(str(self._outbox.folder))
    self._flushed = time.monotonic()

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
    if isinstance(self._lines, _Whole):
      if time.monotonic() - self._flushed > _EVERY:
        self.flush()
    else:
      self._lines.flush()

  def flush(self) -> None:
    """Writes what was measured so far, if that is not done line by line."""
    if not isinstance(self._lines, _Whole):
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


class _Whole:
  """Lines of a file that cannot grow: it is written anew, with all of them."""

  def __init__(self, path, text: str):
    self._path, self._text, self._written = path, text, text

  def write(self, text: str) -> None:
    """Adds lines; nothing is written yet."""
    self._text += text

  def flush(self) -> None:
    """Writes the file if there are new lines; `storage.failures` if it fails."""
    if self._text != self._written:
      storage.write(self._path, self._text.encode())
      self._written = self._text

  def close(self) -> None:
    """Writes the rest."""
    self.flush()


def _forget_after(lines, step: int) -> str:
  """Takes away what a run that ended in between wrote after its checkpoint.

  Returns:
    What is left.
  """
  if not lines.exists():
    return ''
  kept = []
  with storage.open_text(lines) as file:
    found = file.read()
  for line in found.splitlines(keepends=True):
    try:
      if json.loads(line)['step'] <= step:
        kept.append(line)
    except (ValueError, TypeError, KeyError):
      pass  # The process was killed while it wrote the line.
  output_files.write_atomically(lines, ''.join(kept))
  return ''.join(kept)
