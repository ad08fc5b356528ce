"""What several jobs need: the mesh, a resumable training run, a world."""

from collections.abc import Callable, Iterator
import dataclasses
import pathlib

import jax

from hermesflow_jax import checkpoint
from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import settings
from hermesflow_jax import sharding
from hermesflow_jax import train


@dataclasses.dataclass(frozen=True)
class Mesh:
  """Devices along each axis; data = -1 takes what model leaves."""

  data: int = -1
  model: int = 1

  def make(self):
    """Returns the mesh; ValueError if it does not fit the devices."""
    return sharding.make_mesh(self.data, self.model)


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
    settings.require(self, {'seed': 0, 'jitter': 0})


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


def resumable_run(
    make_state: Callable[[], train.State],
    loss: Callable,
    optim: train.Optim,
    batches: Callable[[int], Iterator],
    schedule: Schedule,
    *,
    constants,
    key: jax.Array,
    folder: str,
    mesh,
    meta: dict,
    label: str,
    console: console_lib.Console,
) -> train.State:
  """Trains from the newest checkpoint in `folder`, or from the start.

  Args:
    make_state: builds step 0.
    loss: see `train.make_step`.
    optim: the optimizer, with the number of steps.
    batches: first step -> device batches.
    schedule: intervals.
    constants: what the loss needs beside the model.
    key: of the run.
    folder: for checkpoints and metrics.
    mesh: where arrays live.
    meta: kept with a checkpoint; one that says otherwise is refused.
    label: of the progress bar.
    console: says where it resumes.

  Raises:
    ValueError: the newest checkpoint is of another run or damaged.
  """
  state = make_state()
  root = pathlib.Path(folder) / 'steps'
  newest = checkpoint.latest(str(root))
  if newest:
    found = checkpoint.meta(newest)
    if found != meta:
      raise ValueError(f'checkpoint {newest} is of another run')
    placed = sharding.shardings(state, mesh)
    state = checkpoint.restore(newest, state, placed)
    console.say(f'{label}: resumes at step {int(state.step)}')
  step = train.make_step(loss, optim, key, mesh)

  def save(state):
    checkpoint.save(str(root / str(int(state.step))), state, meta)

  with events.Log(folder) as log:
    return train.run(
        state, step, constants, batches(int(state.step)), optim.steps,
        log_every=schedule.log_every, log=log,
        progress=console.progress(label), save=save,
        save_every=schedule.save_every,
    )
