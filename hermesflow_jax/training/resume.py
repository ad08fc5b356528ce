"""A run of training that goes on, after any end, as if there had been none."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import math

import jax

from hermesflow_jax.checkpoints import rotation
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import metrics_log
from hermesflow_jax.training import training_loop


def run_resumable(
  make_state: Callable,
  step,
  constants,
  batches: Callable[[int], Iterator],
  pace: training_loop.LoopConfig,
  *,
  mesh,
  folder: str,
  identity: dict,
  label: str,
  console: terminal.Console,
  names: Callable[[int], Sequence[str]] | None = None,
  sample: Callable | None = None,
  rates: Callable[[int, float], dict] = lambda steps, seconds: {},
  known: Callable[[dict], dict] = dict,
):
  """Trains from the newest checkpoint that is whole, or from the start.

  SIGTERM and Ctrl-C are heard after a step, the last too, which is then saved.

  Args:
    make_state: () -> step 0, placed; called only where no checkpoint is.
    step, constants: see `training_loop.run_loop`.
    batches: first step -> device batches.
    pace: see `training_loop.LoopConfig`.
    mesh: where the state lives.
    folder: for checkpoints (`steps/`), metrics and a profile.
    identity: see `rotation.CheckpointRotation`.
    label: of the progress bar.
    console: says where it resumes, and what was passed over.
    names, sample, rates: see `training_loop.Hooks`.
    known: see `rotation.CheckpointRotation`.

  Returns:
    The last state, which is not saved.

  Raises:
    ValueError: the newest checkpoint is of another run.
    OSError: a checkpoint could not be written.
    loop.NonFinite, interrupts.Stopped: see `training_loop.run_loop`.
  """
  root = storage.path(folder)
  series = rotation.CheckpointRotation(
    root / 'steps', identity, console.say, known=known
  )
  abstract = jax.eval_shape(make_state)
  found = series.newest(abstract, sharding.shardings(abstract, mesh))
  if found:
    state, notes = found
    rows = [
      {name: float(value) for name, value in row.items()}
      for row in notes['rows']
    ]
    skipped = notes.get('skipped', 0)  # Older ones did not say.
    console.say(f'{label}: resumes at step {int(state.step)}')
  else:
    state, rows, skipped = make_state(), [], 0
  start = int(state.step)
  with (
    metrics_log.MetricsLog(folder, start) as log,
    interrupts.StopSignal() as wish,
    _written(series),
  ):

    def save(state, rows, skipped):
      # What is told before a checkpoint is not told again after it.
      log.flush()
      series.save(state, {'rows': metrics_to_json(rows), 'skipped': skipped})

    hooks = training_loop.Hooks(
      log=log,
      progress=console.progress(label),
      stop=wish,
      save=save,
      names=names,
      sample=sample,
      rates=rates,
      trace=str(root / 'profile'),
    )
    try:
      state = training_loop.run_loop(
        state, step, constants, batches(start), pace, hooks, rows, skipped
      )
    except training_loop.NonFiniteError as error:
      last = series.written()
      raise training_loop.NonFiniteError(
        f'{error}; the last checkpoint: {last}'
      ) from error
    series.wait()
    if wish():
      if start < pace.steps:
        # Nothing more can be skipped.
        save(state, [], 0)
      raise interrupts.Stopped(f'stopped after step {int(state.step)}')
  return state


def metrics_to_json(rows: Sequence[dict[str, float]]) -> list[dict]:
  """Returns metrics as JSON types; `float` takes each value back."""
  return [
    {name: v if math.isfinite(v) else repr(v) for name, v in row.items()}
    for row in rows
  ]


@dataclasses.dataclass
class _written:
  """Sees to it that what is being written is, whatever else happens."""

  series: rotation.CheckpointRotation

  def __enter__(self):
    return self

  def __exit__(self, kind, error, _):
    # Of several processes one alone may be here with another error, and the
    # others do not wait for it.
    together = (type(None), interrupts.Stopped, training_loop.NonFiniteError)
    if not isinstance(error, together) and not processes.single_process():
      return
    try:
      self.series.wait()
    except OSError as failed:
      if error is None or isinstance(error, interrupts.Stopped):
        raise
      # What happened first is told, and that there is more.
      error.add_note(str(failed))
