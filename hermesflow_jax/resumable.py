"""A run of training that goes on, after any end, as if there had been none."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import pathlib

from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import interrupts
from hermesflow_jax import loop
from hermesflow_jax import series as series_lib


def run(
    state, step: Callable, constants, batches: Callable[[int], Iterator],
    pace: loop.Pace, *, folder: str, identity: dict, label: str,
    console: console_lib.Console,
    names: Callable[[int], Sequence[str]] | None = None,
    sample: Callable | None = None,
    rates: Callable[[int, float], dict] = lambda steps, seconds: {},
):
  """Trains from the newest checkpoint that is whole, or from the start.

  SIGTERM and Ctrl-C are heard after a step, which is then saved.

  Args:
    state: step 0, placed.
    step, constants: see `loop.run`.
    batches: first step -> device batches.
    pace: see `loop.Pace`.
    folder: for checkpoints (`steps/`), metrics and a profile.
    identity: see `series.Series`.
    label: of the progress bar.
    console: says where it resumes, and what was passed over.
    names, sample, rates: see `loop.Hooks`.

  Returns:
    The last state, which is not saved.

  Raises:
    ValueError: the newest checkpoint is of another run.
    OSError: a checkpoint could not be written.
    loop.NonFinite, interrupts.Stopped: see `loop.run`.
  """
  root = pathlib.Path(folder)
  series = series_lib.Series(root / 'steps', identity, console.say)
  found, rows = series.newest(state), []
  if found:
    state, notes = found
    rows = notes['rows']
    console.say(f'{label}: resumes at step {int(state.step)}')
  start = int(state.step)
  with (
      events.Log(folder, start) as log,
      interrupts.Wish() as wish,
      _written(series),
  ):
    return loop.run(
        state, step, constants, batches(start), pace,
        loop.Hooks(
            log=log, progress=console.progress(label), stop=wish,
            save=lambda state, rows: series.save(state, {'rows': rows}),
            names=names, sample=sample, rates=rates,
            trace=str(root / 'profile'),
        ), rows,
    )


@dataclasses.dataclass
class _written:
  """Sees to it that what is being written is, whatever else happens."""

  series: series_lib.Series

  def __enter__(self):
    return self

  def __exit__(self, kind, error, _):
    try:
      self.series.wait()
    except OSError as failed:
      if error is None or isinstance(error, interrupts.Stopped):
        raise
      # What happened first is told, and that there is more.
      error.add_note(str(failed))
