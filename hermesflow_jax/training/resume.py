"""Training runs that resume bit for bit after any interruption."""

from collections.abc import Sequence
import dataclasses
import math

import jax

from hermesflow_jax.checkpoints import rotation
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.training import metrics_log
from hermesflow_jax.training import train_step
from hermesflow_jax.training import training_loop


def run_resumable(run: training_loop.TrainingRun) -> train_step.TrainState:
  """Trains from the newest undamaged checkpoint, or from the start.

  SIGTERM and Ctrl-C stop the run after a step, which is then saved.

  Args:
    run: step, data, and folder.

  Returns:
    The last state, which is not saved.

  Raises:
    ValueError: the newest checkpoint belongs to another run.
    OSError: a checkpoint could not be written.
    training_loop.NonFiniteError: too many steps were not finite.
    interrupts.Stopped: the process was asked to stop.
  """
  root = storage.path(run.folder)
  checkpoints = rotation.CheckpointRotation(
    root / 'steps', run.identity, run.console.say, known=run.comparable
  )
  abstract = jax.eval_shape(run.make_state)
  restored = checkpoints.newest(
    abstract, sharding.shardings(abstract, run.mesh)
  )
  if restored:
    state, notes = restored
    interval = [
      {name: float(value) for name, value in metrics.items()}
      for metrics in notes['rows']
    ]
    skipped = notes.get('skipped', 0)  # Earlier releases did not save it.
    run.console.say(f'{run.label}: resumes at step {int(state.step)}')
  else:
    state, interval, skipped = run.make_state(), [], 0
  start = int(state.step)
  with (
    # A new run also measures step 0 again.
    metrics_log.MetricsLog(run.folder, start if restored else -1) as log,
    interrupts.StopSignal() as stop,
    _PendingCheckpoint(checkpoints),
  ):

    def save(state, interval, skipped):
      # Metrics logged before a checkpoint are not logged again after it.
      log.flush()
      checkpoints.save(
        state, {'rows': metrics_to_json(interval), 'skipped': skipped}
      )

    hooks = training_loop.Hooks(
      log=log,
      progress=run.console.progress(run.label),
      stop=stop,
      save=save,
      trace=str(root / 'profile'),
    )
    try:
      state = training_loop.run_loop(run, hooks, state, interval, skipped)
    except training_loop.NonFiniteError as error:
      last = checkpoints.written()
      raise training_loop.NonFiniteError(
        f'{error}; the last checkpoint: {last}'
      ) from error
    checkpoints.wait()
    if stop():
      if start < run.config.steps:
        # No step is left that could be skipped.
        save(state, [], 0)
      raise interrupts.Stopped(f'stopped after step {int(state.step)}')
  return state


def metrics_to_json(interval: Sequence[dict[str, float]]) -> list[dict]:
  """Returns step metrics as JSON types; `float` converts each value back."""
  return [
    {name: v if math.isfinite(v) else repr(v) for name, v in metrics.items()}
    for metrics in interval
  ]


@dataclasses.dataclass
class _PendingCheckpoint:
  """Waits on exit until the pending checkpoint is written."""

  checkpoints: rotation.CheckpointRotation

  def __enter__(self):
    return self

  def __exit__(self, kind, error, _):
    # With another error, a process may be alone here; the others do not wait
    # for it.
    shared = (type(None), interrupts.Stopped, training_loop.NonFiniteError)
    if not isinstance(error, shared) and not processes.single_process():
      return
    try:
      self.checkpoints.wait()
    except OSError as failure:
      if error is None or isinstance(error, interrupts.Stopped):
        raise
      # The first error is reported, with a note of the second.
      error.add_note(str(failure))
