"""Checkpoints of a training run, written while the next steps run.

A run resumes from its newest complete checkpoint. A damaged checkpoint is
reported and skipped; a checkpoint of another run is an error.
"""

from collections.abc import Callable
import dataclasses
import json
import pathlib
import re
from typing import Any

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import write_faults


@dataclasses.dataclass
class CheckpointRotation:
  """Saves, restores and removes a run's checkpoints.

  Attributes:
    root: checkpoint folders, a `storage.path`; each has a subfolder
      named by its step.
    identity: settings that decide whether two runs are the same; JSON types.
    say: prints a line about each checkpoint that is skipped.
    keep: checkpoints to keep: the newest, and older checkpoints in
      case it is damaged.
    known: saved identity -> the part that is compared. Earlier releases also
      saved settings that may change.
  """

  root: pathlib.Path
  identity: dict
  say: Callable[[str], None]
  keep: int = 2
  known: Callable[[dict], dict] = dict
  _writing: Any = None
  _good: pathlib.Path | None = None

  def save(self, state, notes: dict) -> None:
    """Begins to write a state; returns when the state may be donated.

    Args:
      state: pytree with an attribute `step`.
      notes: further values that a restart needs; JSON types.

    Raises:
      OSError: this checkpoint or the checkpoint before could not be written.
    """
    self.wait()
    path = self.root / str(int(state.step))
    # Only a skipped checkpoint can be there.
    processes.on_first_process(lambda: checkpoint.remove(path))
    record = {'run': self.identity, 'notes': notes}
    try:
      self._writing = path, checkpoint.save_async(str(path), state, record)
    except Exception as error:
      raise _failed(path, error) from error

  def wait(self) -> None:
    """Returns when the checkpoint is complete and older ones are removed.

    Raises:
      OSError: the checkpoint could not be written.
    """
    if not self._writing:
      return
    (path, response), self._writing = self._writing, None
    cause = None
    try:
      response.result()
    except Exception as error:
      cause = error
    if not processes.all_true(cause is None):
      if processes.is_first():
        # A full disk gets its space back.
        self._clean()
      raise _failed(path, cause) from cause
    self._good = path
    processes.on_first_process(lambda: self._forget(int(path.name)))

  def written(self) -> str:
    """Returns the path of this run's newest checkpoint, for a message.

    Waits until it is complete. Returns 'none' without a checkpoint, and
    'unknown, <reason>' if it could not be written.
    """
    try:
      self.wait()
    except OSError as error:
      return f'unknown, {error}'
    return str(self._good) if self._good else 'none'

  def newest(self, state, places):
    """Reads the newest complete checkpoint.

    Args:
      state: pytree of arrays or shapes, as they were saved.
      places: pytree of shardings with the same structure.

    Returns:
      (state, notes); None if no checkpoint is complete.

    Raises:
      ValueError: it belongs to another run, or its arrays do not fit `state`.
      OSError: it could not be read, though it may not be damaged.
    """
    processes.on_first_process(self._clean)
    for number in processes.broadcast_from_first(self._numbers)[::-1]:
      path = str(self.root / str(number))
      try:
        record = _record(path)
        self._check(path, record['run'])
        restored = checkpoint.restore(path, state, places)
      except read_errors.DamagedError as error:
        self.say(f'passed over: {error}')
        continue
      self._good = storage.path(path)
      return restored, record['notes']
    return None

  def _check(self, path, run):
    saved = self.known(run)
    identity = json.loads(json.dumps(self.identity))
    different = [
      line
      for key in sorted(saved.keys() | identity.keys())
      for line in sorted(
        identities.differences(saved.get(key), identity.get(key), key)
      )
    ]
    if different:
      raise ValueError(
        f'checkpoint {path} belongs to a run with other settings: '
        + ', '.join(different)
      )

  def _numbers(self):
    names = [
      name
      for name in storage.list_names(self.root)
      if re.fullmatch('[0-9]+', name) and (self.root / name).is_dir()
    ]
    return sorted(map(int, names))

  def _forget(self, newest):
    """Removes checkpoints that are too old, and those that were skipped."""
    numbers = self._numbers()
    older = [number for number in numbers if number <= newest]
    for number in numbers:
      if number not in older[-self.keep :]:
        checkpoint.remove(self.root / str(number))

  def _clean(self):
    """Removes checkpoints that a killed process left incomplete."""
    for name in storage.list_names(self.root):
      path = self.root / name
      if storage.is_local(path):
        left = '.orbax-checkpoint-tmp' in name
      else:
        left = not checkpoint.exists(path)
      if left:
        checkpoint.remove(path)


def _record(path: str) -> dict:
  """Returns the record that `CheckpointRotation.save` wrote beside a state."""
  # All processes read it, as orbax synchronizes them.
  record, cause = None, None
  try:
    record = checkpoint.read_metadata(path)
  except (read_errors.DamagedError, OSError) as error:
    cause = error
  read_errors.check_read(path, cause)
  if not isinstance(record, dict) or record.keys() != {'run', 'notes'}:
    raise ValueError(f'checkpoint {path} belongs to another run')
  return record


def _failed(path, error) -> OSError:
  if error is None:
    why = 'another process failed'
  else:
    why = read_errors.describe_error(error)
    why = write_faults.reason(why) or why
  return OSError(f'checkpoint {path} could not be written: {why}')
