"""The checkpoints of one run of training: written behind the steps it makes.

A run goes on from the newest that is whole. One that is damaged is named and
passed over; one of another run is refused.
"""

from collections.abc import Callable
import dataclasses
import json
import pathlib
import re
from typing import Any

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage


@dataclasses.dataclass
class CheckpointRotation:
  """Checkpoints by the number of their step.

  Attributes:
    root: the folder they are in, a `storage.path`.
    identity: what makes the run what it is; JSON types. Those with another
      are refused.
    say: hears what is passed over.
    keep: as many are kept: the newest, and older ones for when it is damaged.
    known: identity of a checkpoint -> the part of it that is compared: earlier
      releases also kept settings that may change.
  """

  root: pathlib.Path
  identity: dict
  say: Callable[[str], None]
  keep: int = 2
  known: Callable[[dict], dict] = dict
  _writing: Any = None
  _good: pathlib.Path | None = None

  def save(self, state, notes: dict) -> None:
    """Begins to write a state; returns when the state may be given away.

    Args:
      state: has a `step`.
      notes: what else a restart needs; JSON types.

    Raises:
      OSError: this one or the one before could not be written.
    """
    self.wait()
    path = self.root / str(int(state.step))
    # Only what was passed over can be there.
    processes.on_first_process(lambda: checkpoint.remove(path))
    record = {'run': self.identity, 'notes': notes}
    try:
      self._writing = path, checkpoint.save_async(str(path), state, record)
    except Exception as error:
      raise _failed(path, error) from error

  def wait(self) -> None:
    """Returns when all is written, and only what is kept is there.

    Raises:
      OSError: it could not be written.
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
      raise _failed(path, cause) from cause
    self._good = path
    processes.on_first_process(lambda: self._forget(int(path.name)))

  def written(self) -> str:
    """Returns what can be said of the newest checkpoint of this run.

    Its path when all is written; 'none'; or why one could not be written.
    """
    try:
      self.wait()
    except OSError as error:
      return f'unknown, {error}'
    return str(self._good) if self._good else 'none'

  def newest(self, state, places):
    """Returns (state, notes) of the newest that is whole; None if none is.

    Args:
      state: pytree of arrays or shapes, what is wanted.
      places: the same pytree of shardings.

    Raises:
      ValueError: it is of another run, or its arrays are not those of `state`.
      OSError: it could not be read, for another reason than damage.
    """
    processes.on_first_process(self._clean)
    for number in processes.broadcast_from_first(self._numbers)[::-1]:
      path = str(self.root / str(number))
      try:
        record = _record(path)
        self._check(path, record['run'])
        found = checkpoint.restore(path, state, places)
      except read_errors.Damaged as error:
        self.say(f'passed over: {error}')
        continue
      self._good = storage.path(path)
      return found, record['notes']
    return None

  def _check(self, path, run):
    run = self.known(run)
    different = sorted(
      key
      for key in run.keys() | self.identity.keys()
      if run.get(key) != json.loads(json.dumps(self.identity.get(key)))
    )
    if different:
      raise ValueError(
        f'checkpoint {path} is of another run: other ' + ', '.join(different)
      )

  def _numbers(self):
    names = [
      name
      for name in storage.list_names(self.root)
      if re.fullmatch('[0-9]+', name) and (self.root / name).is_dir()
    ]
    return sorted(map(int, names))

  def _forget(self, newest):
    """Removes what is older than what is kept, and what was passed over."""
    numbers = self._numbers()
    older = [number for number in numbers if number <= newest]
    for number in numbers:
      if number not in older[-self.keep :]:
        checkpoint.remove(self.root / str(number))

  def _clean(self):
    """Removes what a killed process left half-written."""
    for name in storage.list_names(self.root):
      path = self.root / name
      if storage.is_local(path):
        left = '.orbax-checkpoint-tmp' in name
      else:
        left = not checkpoint.exists(path)
      if left:
        checkpoint.remove(path)


def _record(path: str) -> dict:
  """What was saved beside a state, by `CheckpointRotation.save`."""
  # All read it: orbax makes them wait for each other.
  record, cause = None, None
  try:
    record = checkpoint.read_metadata(path)
  except (read_errors.Damaged, OSError) as error:
    cause = error
  read_errors.check_read(path, cause)
  if not isinstance(record, dict) or record.keys() != {'run', 'notes'}:
    raise ValueError(f'checkpoint {path} is of another run')
  return record


def _failed(path, error) -> OSError:
  if error is None:
    why = 'another process failed'
  else:
    why = read_errors.describe_error(error)
  return OSError(f'checkpoint {path} could not be written: {why}')
