"""The loop around the step of training: it logs, saves, stops and watches.

Results of a step are looked at only where an interval ends, so the host is
ahead of the devices, and these do not wait for it.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses

import jax

from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import timing
from hermesflow_jax.runtime import transfer


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """How long a run is, and what it does on the way.

  Attributes:
    steps: the step to stop at.
    log_every: steps between two lines of metrics: means over the steps that
      were not skipped; see `_means`.
    save_every: steps between two checkpoints; 0 for none on the way.
    sample_every: steps between two looks at samples; 0 for none.
    max_skipped: non-finite steps that are borne in the whole run.
    profile: the first step, and the first after, that is traced.
  """

  steps: settings.PositiveInt
  log_every: settings.PositiveInt
  save_every: settings.NonNegativeInt = 0
  sample_every: settings.NonNegativeInt = 0
  max_skipped: settings.NonNegativeInt = 10
  profile: tuple[int, int] = (0, 0)

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True)
class Hooks:
  """What a run is connected to.

  Attributes:
    log: (step, metrics) -> None.
    progress: wraps the range of steps, e.g. a progress bar.
    save: (state, metrics of the steps since the last line, how many steps of
      the run were skipped) -> None.
    stop: called after each step but the last: whether to save and stop. What
      is told later is for who called.
    sample: state -> None.
    names: step -> the ids of its records.
    rates: (steps, seconds that they took) -> metrics of speed.
    trace: folder of the profile.
  """

  log: Callable[[int, dict[str, float]], None]
  progress: Callable[[Iterable], Iterable] = iter
  save: Callable | None = None
  stop: Callable[[], bool] = lambda: False
  sample: Callable | None = None
  names: Callable[[int], Sequence[str]] | None = None
  rates: Callable[[int, float], dict[str, float]] = lambda steps, seconds: {}
  trace: str = ''


class NonFiniteError(FloatingPointError):
  """Too many steps had a loss or gradient that was not finite."""


def run_loop(
  state,
  step,
  constants,
  batches: Iterator,
  pace: LoopConfig,
  hooks: Hooks,
  rows: Sequence[dict[str, float]] = (),
  skipped: int = 0,
):
  """Runs from `state.step` to the last step; returns the last state.

  Args:
    state: where to start; its arrays are taken away.
    step: a `train_step.Step`.
    constants: what the loss needs beside the model (a frozen reference...).
    batches: yields device batches, beginning with the one of `state.step`.
    pace: how long, and what on the way.
    hooks: what it is connected to.
    rows: the metrics of the steps since the last line, of a run that goes on.
    skipped: how many steps it has skipped, these among them.

  Raises:
    NonFinite: too many steps were skipped; says which, and their records.
    interrupts.Stopped: `hooks.stop` said so; the state is saved.
  """
  rows, pending = list(rows), []

  def fetch():
    nonlocal skipped
    with watch.part('step'):
      for metrics in processes.to_host(pending):
        rows.append({name: float(value) for name, value in metrics.items()})
        skipped += bool(rows[-1]['train/skipped'])
    pending.clear()

  def save():
    fetch()
    with watch.part('checkpoint'):
      hooks.save(taken.state, rows, skipped)

  def sample():
    try:
      hooks.sample(taken.state)
    except interrupts.Stopped:
      # One of several processes was told, and all are here.
      if hooks.save:
        save()
      raise

  start = int(state.step)
  taken = step.begin(state, constants)
  with (
    timing.Stopwatch() as watch,
    _Profile(*pace.profile, hooks.trace) as profile,
  ):
    for number in hooks.progress(range(start, pace.steps)):
      profile.begin(number)
      with watch.part('data'):
        batch = next(batches)
      with watch.part('step'):
        metrics = taken(batch)
      pending.append(metrics)
      done = number + 1
      last = done == pace.steps
      profile.end(done, metrics)
      if done % pace.log_every == 0 or last:
        fetch()
        means = _means(rows)
        shares, steps = watch.lap(), min(number - start + 1, len(rows))
        seconds = watch.seconds * sum(
          shares.get(name, 0.0) for name in ('data', 'step', 'rest')
        )
        means |= {f'time/{name}': share for name, share in shares.items()}
        means['speed/seconds_per_step'] = seconds / steps
        hooks.log(done, means | hooks.rates(steps, seconds))
        if skipped > pace.max_skipped:
          raise NonFiniteError(_told(rows, done, skipped, hooks))
        rows.clear()
      if (
        hooks.sample
        and pace.sample_every
        and (done % pace.sample_every == 0 or last)
      ):
        fetch()  # What it would wait for is no part of it.
        with watch.part('evaluation'):
          sample()
      due = pace.save_every and done % pace.save_every == 0
      if hooks.save and due and not last:
        save()
      if not last and hooks.stop():
        if hooks.save and not due:
          save()
        raise interrupts.Stopped(f'stopped after step {done}')
  return taken.state


class _Profile:
  """A profile of the steps from `first` to before `after`, however they end."""

  def __init__(self, first: int, after: int, folder: str):
    self.first, self.after, self.folder = first, after, folder
    self.running, self.outbox = False, None

  def begin(self, number: int) -> None:
    """Starts it if the step `number` is its first."""
    if number == self.first < self.after:
      self.outbox = transfer.Outbox(storage.path(self.folder))
      jax.profiler.start_trace(str(self.outbox.folder))
      self.running = True

  def end(self, done: int, results=None) -> None:
    """Writes it after `done` steps, when their results are there."""
    if self.running and done >= self.after:
      jax.block_until_ready(results)
      jax.profiler.stop_trace()
      self.running = False
      self.outbox.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.end(self.after)


def _means(rows):
  """The means over steps that were not skipped, and how many were.

  Where steps have `<kind>/pairs`, the metrics of that kind are means over
  these: a step may have none.
  """
  kept = [r for r in rows if not r['train/skipped']] or rows
  means = {name: _mean(kept, name) for name in rows[0]}
  means['train/skipped'] = sum(r['train/skipped'] for r in rows)
  return means


def _mean(rows, name):
  pairs = f'{name.split("/")[0]}/pairs'
  weights = [1 if name == pairs else row.get(pairs, 1) for row in rows]
  if not any(weights):
    weights = [1] * len(rows)
  values = (row[name] * weight for row, weight in zip(rows, weights))
  return sum(values) / sum(weights)


def _told(rows, done, skipped, hooks):
  """What is said of the steps that were not finite."""
  first = done - len(rows)
  steps = [first + n for n, row in enumerate(rows) if row['train/skipped']]
  said = (
    f'{len(steps)} of the last {len(rows)} steps before step {done} were not '
    f'finite, {skipped} in all'
  )
  if hooks.names:
    said += ': ' + '; '.join(
      f'step {n} of {", ".join(hooks.names(n))}' for n in steps[:3]
    )
  return said
