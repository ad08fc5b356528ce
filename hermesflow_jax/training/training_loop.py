"""The training loop: steps, metrics, samples, checkpoints and stops.

The host fetches metrics only when an interval ends, so it runs ahead and the
devices never wait for it; `runtime.dispatch` says how far.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
from typing import Any

import jax

from hermesflow_jax.runtime import dispatch
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import timing
from hermesflow_jax.runtime import transfer
from hermesflow_jax.training import train_step


@dataclasses.dataclass(frozen=True)
class LoopConfig:
  """Length and intervals of a run.

  Attributes:
    steps: last step.
    log_every: steps between two metrics lines; a line averages the steps that
      were not skipped, see `_means`.
    save_every: steps between two checkpoints; 0 for none.
    sample_every: steps between two samples; 0 for none.
    sample_first: whether a new run begins with a sample.
    max_skipped: most non-finite steps in the whole run.
    profile: the first step to profile, and the first step after it.
  """

  steps: settings.PositiveInt
  log_every: settings.PositiveInt
  save_every: settings.NonNegativeInt = 0
  sample_every: settings.NonNegativeInt = 0
  sample_first: bool = False
  max_skipped: settings.NonNegativeInt = 10
  profile: tuple[int, int] = (0, 0)

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingRun:
  """A training run, as `resume.run_resumable` takes it.

  Attributes:
    step: compiled step.
    make_state: () -> step 0 on the mesh; not called when it resumes.
    constants: further loss arguments, e.g. a frozen reference.
    batches: first step -> iterator over device batches.
    config: length and intervals.
    mesh: device mesh.
    folder: folder for checkpoints (`steps/`), metrics and a profile.
    identity: settings that its checkpoints must have, JSON types; see
      `rotation.CheckpointRotation`.
    comparable: identity in a checkpoint -> its part that must equal `identity`;
      a checkpoint may have settings of another release.
    label: run name in progress lines.
    console: progress output.
    names: step -> its record ids, for error messages; None if unknown.
    sample: state -> metrics to log or None, called every `sample_every` steps;
      None for no samples.
    rates: (steps, seconds) -> speed metrics.
  """

  step: train_step.TrainStep
  make_state: Callable[[], train_step.TrainState]
  constants: Any
  batches: Callable[[int], Iterator]
  config: LoopConfig
  mesh: jax.sharding.Mesh
  folder: str
  identity: dict
  comparable: Callable[[dict], dict] = dict
  label: str
  console: terminal.Console
  names: Callable[[int], Sequence[str]] | None = None
  sample: Callable[[train_step.TrainState], dict | None] | None = None
  rates: Callable[[int, float], dict[str, float]] = lambda steps, seconds: {}


@dataclasses.dataclass(frozen=True)
class Hooks:
  """Outputs of the loop.

  Attributes:
    log: (step, metrics) -> None.
    progress: wraps the steps, e.g. in a progress bar.
    save: (state, step metrics since the last metrics line, steps skipped in the
      whole run) -> None; None for no checkpoints.
    stop: () -> whether to save and stop; called after each step but the
      last. The caller must handle a stop during the last step.
    trace: folder of the profile.
  """

  log: Callable[[int, dict[str, float]], None]
  progress: Callable[[Iterable], Iterable] = iter
  save: Callable | None = None
  stop: Callable[[], bool] = lambda: False
  trace: str = ''


class NonFiniteError(FloatingPointError):
  """Too many steps had a loss or gradient that was not finite."""


def run_loop(
  run: TrainingRun,
  hooks: Hooks,
  state: train_step.TrainState,
  interval: Sequence[dict[str, float]] = (),
  skipped: int = 0,
) -> train_step.TrainState:
  """Trains from `state.step` to the last step.

  Args:
    run: step, data and length.
    hooks: outputs.
    state: first state; its arrays are donated.
    interval: step metrics since the last metrics line, in a resumed run.
    skipped: steps skipped before `state`, including those in `interval`.

  Returns:
    The last state.

  Raises:
    NonFiniteError: too many steps were skipped; names them and their records.
    interrupts.Stopped: `hooks.stop` returned True; the state is saved.
  """
  interval, pending = list(interval), []
  start, config = int(state.step), run.config
  in_flight = dispatch.max_steps_in_flight()
  structure = jax.tree.structure(state)
  # Between steps the state is its leaves; `program_and_arguments` says why.
  program, (leaves, *arguments) = run.step.program_and_arguments(
    state, run.constants
  )
  batches = run.batches(start)

  def current():
    return jax.tree.unflatten(structure, leaves)

  def fetch():
    nonlocal skipped
    with watch.part('step'):
      for metrics in processes.to_host(pending):
        interval.append({name: float(value) for name, value in metrics.items()})
        skipped += bool(interval[-1]['train/skipped'])
    pending.clear()

  def save():
    fetch()
    with watch.part('checkpoint'):
      hooks.save(current(), interval, skipped)

  def sample(done):
    try:
      with watch.part('evaluation'):
        if metrics := run.sample(current()):
          hooks.log(done, metrics)
    except interrupts.Stopped:
      # One of several processes was stopped, and all raise this together.
      if hooks.save:
        save()
      raise

  with (
    timing.Stopwatch() as watch,
    _Profile(*config.profile, hooks.trace) as profile,
  ):
    if run.sample and config.sample_first and not start:
      sample(0)
    for number in hooks.progress(range(start, config.steps)):
      profile.begin(number)
      with watch.part('data'):
        batch = next(batches)
      with watch.part('step'):
        leaves, metrics = program(leaves, *arguments, batch)
      pending.append(metrics)
      if in_flight is not None and len(pending) >= in_flight:
        jax.block_until_ready(pending[-in_flight])
      done = number + 1
      last = done == config.steps
      profile.end(done, metrics)
      if done % config.log_every == 0 or last:
        fetch()
        means = _means(interval)
        shares, steps = watch.lap(), min(number - start + 1, len(interval))
        seconds = watch.seconds * sum(
          shares.get(name, 0.0) for name in ('data', 'step', 'rest')
        )
        means |= {f'time/{name}': share for name, share in shares.items()}
        means['speed/seconds_per_step'] = seconds / steps
        hooks.log(done, means | run.rates(steps, seconds))
        if skipped > config.max_skipped:
          raise NonFiniteError(_describe_skipped(interval, done, skipped, run))
        interval.clear()
      if (
        run.sample
        and config.sample_every
        and (done % config.sample_every == 0 or last)
      ):
        fetch()  # Otherwise sampling would be charged for these steps.
        sample(done)
      due = config.save_every and done % config.save_every == 0
      if hooks.save and due and not last:
        save()
      if not last and hooks.stop():
        if hooks.save and not due:
          save()
        raise interrupts.Stopped(f'stopped after step {done}')
  return current()


class _Profile:
  """A profile of the steps from `first` to before `after`.

  It is also written if the run ends within these steps.
  """

  def __init__(self, first: int, after: int, folder: str):
    self.first, self.after, self.folder = first, after, folder
    self.running, self.outbox = False, None

  def begin(self, number: int) -> None:
    """Starts the profiler before step `number`, if that is the first."""
    if number == self.first < self.after:
      self.outbox = transfer.Outbox(storage.path(self.folder))
      jax.profiler.start_trace(str(self.outbox.folder))
      self.running = True

  def end(self, done: int, results=None) -> None:
    """Writes the profile after the last step, once `results` are computed."""
    if self.running and done >= self.after:
      jax.block_until_ready(results)
      jax.profiler.stop_trace()
      self.running = False
      self.outbox.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.end(self.after)


def _means(interval):
  """Returns means over steps that were not skipped, and the number skipped.

  A step's metrics `<kind>/...` are weighed by its `<kind>/pairs` or
  `<kind>/groups`, if it has that metric: a step may have few of them, or none.
  """
  steps = [m for m in interval if not m['train/skipped']] or interval
  means = {name: _mean(steps, name) for name in interval[0]}
  means['train/skipped'] = sum(m['train/skipped'] for m in interval)
  return means


def _mean(interval, name):
  kind = name.split('/')[0]
  counts = [f'{kind}/pairs', f'{kind}/groups']
  weights = [
    1 if name in counts else next((m[c] for c in counts if c in m), 1)
    for m in interval
  ]
  if not any(weights):
    weights = [1] * len(interval)
  values = (
    metrics[name] * weight for metrics, weight in zip(interval, weights)
  )
  return sum(values) / sum(weights)


def _describe_skipped(interval, done, skipped, run):
  """Returns the error text for an interval's non-finite steps."""
  first = done - len(interval)
  steps = [
    first + n for n, metrics in enumerate(interval) if metrics['train/skipped']
  ]
  text = (
    f'{len(steps)} of the last {len(interval)} steps before step {done} were '
    f'not finite, {skipped} in all'
  )
  if run.names:
    text += ': ' + '; '.join(
      f'step {n} of {", ".join(run.names(n))}' for n in steps[:3]
    )
  return text
