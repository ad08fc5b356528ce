"""What several jobs need: the mesh, a world, a folder, a resumable run."""

from collections.abc import Collection, Sequence
import contextlib
import dataclasses
import json
import reprlib

from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import faults as faults_lib
from hermesflow_jax import loop
from hermesflow_jax import processes
from hermesflow_jax import settings
from hermesflow_jax import sharding
from hermesflow_jax import storage
from hermesflow_jax.data import shapes

# Settings that say where, and how much at once, not what.
_PLACE = {'mesh', 'chunk', 'accumulate', 'command'}


@dataclasses.dataclass(frozen=True)
class Mesh:
  """Devices along each axis; data = -1 takes what model leaves."""

  data: int = -1
  model: int = 1

  def make(self, batch: int = 0, accumulate: int = 1):
    """Returns the mesh.

    Args:
      batch: the global batch size of the run; 0 if any will do.
      accumulate: parts that it is computed in, one after the other.

    Raises:
      ValueError: the mesh does not fit the devices, or the batch the mesh.
    """
    mesh = sharding.make_mesh(self.data, self.model)
    if batch % (mesh.shape['data'] * accumulate):
      parts = f' in {accumulate} parts' if accumulate > 1 else ''
      raise ValueError(
          f'batch {batch} does not split over data={mesh.shape["data"]}{parts}'
      )
    return mesh


@dataclasses.dataclass(frozen=True)
class World:
  """The embedded world.

  Attributes:
    seed: of the scenes.
    jitter: largest offset of an object from its cell's centre, in pixels.
  """

  seed: int
  jitter: int

  def __post_init__(self):
    settings.require(
        self, {'seed': 0, 'jitter': 0}, most={'jitter': shapes.MAX_JITTER}
    )


@dataclasses.dataclass(frozen=True)
class Schedule:
  """How long a run is and what it writes on the way.

  Attributes:
    batch: global batch size.
    log_every: steps between two lines of metrics.
    save_every: steps between two checkpoints; 0 for none before the end.
  """

  batch: int
  log_every: int
  save_every: int

  def __post_init__(self):
    settings.require(self, {'batch': 1, 'log_every': 1, 'save_every': 0})

  def pace(self, steps: int) -> loop.Pace:
    """Returns the pace of a run of so many steps."""
    return loop.Pace(steps, self.log_every, self.save_every)


def claim(
    workdir: str, config, console: console_lib.Console,
    may_change: Collection[str] = (), **identity
) -> None:
  """Marks a folder as this run's, or checks that it is.

  Args:
    workdir: the folder; made if it is not there.
    config: the settings, a dataclass; where the work is done (_PLACE) may be
      another when a run goes on.
    console: says that a run resumes.
    may_change: settings, such as 'play.rounds', that may be others when a run
      goes on.
    **identity: what else makes the run what it is; JSON types.

  Raises:
    ValueError: it cannot be written, or belongs to something else, or to a
      run of other settings, all of which are named.
  """
  if processes.agreed(lambda: _claimed(
      workdir, config, may_change, identity
  )):
    console.say(f'resuming in {workdir}')


def _claimed(workdir, config, may_change, identity) -> bool:
  """Does the work of `claim`; whether the run is there already."""
  root = storage.path(workdir)
  path = root / 'settings.json'
  record = json.loads(
      json.dumps(dataclasses.asdict(config) | identity, default=str)
  )
  try:
    storage.make(root)
    # A start that was killed may have left its temporary file.
    if all(name == 'settings.json.tmp' for name in storage.names(root)):
      if _first_writes(path, json.dumps(record, indent=1) + '\n'):
        return False
    storage.check_writable(root)
    found = json.loads(path.read_text()) if path.exists() else None
    if not isinstance(found, dict):
      raise ValueError('it holds files of something else')
    different = sorted(
        change for change in _differences(found, record)
        if change.split()[0].removeprefix('config.') not in may_change
    )
    if different:
      raise ValueError(
          'it belongs to a run of other settings: ' + ', '.join(different)
      )
  except (*storage.failures(), ValueError) as error:
    raise ValueError(
        f'workdir {root} cannot be used: {error}; give another --workdir'
    ) from error
  return True


def _first_writes(path, text) -> bool:
  """Writes the settings of a run; whether no other did at the same time."""
  if not storage.is_local(path):
    return storage.create(path, text.encode())
  # Of processes that start at once one may have moved the file away.
  with contextlib.suppress(FileNotFoundError):
    events.write_atomically(path, text)
    return True
  return False


def kept(
    found: Sequence[tuple[str, str]], on_error: str, what: str,
    console: console_lib.Console,
) -> list[str]:
  """Returns the inputs of a batch that have no fault.

  Args:
    found: (input, its fault or '').
    on_error: 'raise', or 'skip' to leave the others out and say so.
    what: how an input is called.
    console: hears of each input that is left out, and their number.

  Raises:
    ValueError: there are faults and `on_error` is 'raise', or nothing is left.
  """
  faults = [f'{what} {name!r}: {fault}' for name, fault in found if fault]
  good = [name for name, fault in found if not fault]
  if not found:
    raise ValueError(f'no {what}')
  faults_lib.settle(faults, len(good), on_error, console.say)
  return good


def check_writable(folder: str) -> None:
  """Makes a folder; ValueError if that fails or nothing can be written there."""
  folder = storage.path(folder)
  try:
    storage.make(folder)
  except OSError as error:
    raise ValueError(f'folder {folder} cannot be made: {error}') from error
  try:
    storage.check_writable(folder)
  except storage.failures() as error:
    raise ValueError(f'folder {folder} cannot be used: {error}') from error


def identity(config) -> dict:
  """Returns settings as JSON types, without where the work is done."""
  said = json.loads(json.dumps(dataclasses.asdict(config), default=str))
  return {name: value for name, value in said.items() if name not in _PLACE}


def _differences(a, b, name='config'):
  if isinstance(a, dict) and isinstance(b, dict):
    for key in (a.keys() | b.keys()) - _PLACE:
      yield from _differences(a.get(key), b.get(key), f'{name}.{key}')
  elif a != b:
    yield f'{name} {reprlib.repr(a)} -> {reprlib.repr(b)}'
