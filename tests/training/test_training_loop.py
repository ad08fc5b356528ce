"""The loop: what it logs and saves, where it stops, and what it says then."""

import functools
import time

import jax
import numpy as np
import pytest
import tiny
import tiny_line
import tiny_runs

import configs.learn
import configs.pair_dpo
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import timing
from hermesflow_jax.training import train_step
from hermesflow_jax.training import training_loop

PARTS = {'data', 'step', 'checkpoint', 'evaluation', 'compile', 'rest'}


class Logged(dict):
  """A log: {step: metrics}."""

  def __call__(self, step, metrics):
    self[step] = metrics


def run(
  steps, broken=(), fields=(), hooks=(), start=None, rows=(), skipped=0, **loop
):
  """(last state, log); `fields` of the run, `hooks`, and `loop` settings."""
  mesh, log = tiny.mesh(8, 1), Logged()
  state = training_loop.run_loop(
    tiny_runs.training_run(
      mesh, steps, loop={'log_every': 1} | loop, broken=broken, **dict(fields)
    ),
    training_loop.Hooks(log=log, **dict(hooks)),
    start or tiny_line.state(mesh),
    rows,
    skipped,
  )
  return state, log


def test_training_lowers_the_loss():
  state, log = run(40)
  assert int(state.step) == 40
  assert log[40]['train/loss'] < 0.1 * log[1]['train/loss']
  assert sorted(log) == list(range(1, 41))


def test_every_step_has_its_own_key():
  _, log = run(4)
  assert len({metrics['toy/noise'] for metrics in log.values()}) == 4


def test_skipped_steps_are_counted_and_kept_out_of_the_means():
  _, log = run(6, broken={1, 2}, log_every=3)
  assert log[3]['train/skipped'] == 2 and log[6]['train/skipped'] == 0
  assert np.isfinite(log[3]['train/loss'])


def test_too_many_skipped_steps_stop_the_run_and_name_their_records():
  names = {'names': lambda step: [f'a{step}', f'b{step}']}
  with pytest.raises(
    training_loop.NonFiniteError,
    match='3 of the last 4 .* step 8 .*3 in all: '
    'step 4 of a4, b4; step 5 of a5, b5;',
  ):
    run(12, broken={4, 5, 7}, fields=names, log_every=4, max_skipped=2)
  run(12, broken={4, 5, 7}, fields=names, log_every=4, max_skipped=3)


def test_steps_are_skipped_only_so_often_in_a_run():
  """However few of an interval they are."""
  with pytest.raises(
    training_loop.NonFiniteError, match='1 of the last 2 .*, 3 in all'
  ):
    run(12, broken={1, 3, 5}, log_every=2, max_skipped=2)
  saved = {}

  def save(state, rows, skipped):
    saved[int(state.step)] = jax.device_get(state), list(rows), skipped

  run(4, broken={1, 2}, hooks={'save': save}, log_every=2, save_every=3)
  state, rows, skipped = saved[3]
  assert len(rows) == 1 and skipped == 2
  places = jax.tree.map(lambda a: a.sharding, tiny_line.state(tiny.mesh(8, 1)))
  state = jax.device_put(state, places)
  with pytest.raises(
    training_loop.NonFiniteError, match='of the last 2 .*, 3 in all'
  ):
    run(
      6,
      broken={3},
      start=state,
      rows=rows,
      skipped=skipped,
      log_every=2,
      max_skipped=2,
    )


@pytest.mark.parametrize(
  'config, values',
  [
    (configs.pair_dpo, lambda c: (c.play.optim.steps, c.play.log_every)),
    (configs.learn, lambda c: (c.optim.steps, c.log_every)),
  ],
)
def test_the_shipped_settings_do_not_bear_a_run_of_nothing_else(config, values):
  steps, log_every = values(config.get_config())
  with pytest.raises(training_loop.NonFiniteError):
    run(steps, broken=range(steps), log_every=log_every)


def test_a_mean_is_over_pairs_where_steps_have_few_or_none():
  rows = [
    {
      'train/skipped': 0.0,
      'train/loss': 1.0,
      'und/pairs': 3.0,
      'und/accuracy': 1.0,
    },
    {
      'train/skipped': 0.0,
      'train/loss': 2.0,
      'und/pairs': 1.0,
      'und/accuracy': 0.0,
    },
    {
      'train/skipped': 0.0,
      'train/loss': 6.0,
      'und/pairs': 0.0,
      'und/accuracy': 0.0,
    },
  ]
  means = training_loop._means(rows)
  assert means['und/accuracy'] == 0.75
  assert means['train/loss'] == 3.0
  assert means['und/pairs'] == pytest.approx(4 / 3)
  assert training_loop._means(rows[2:])['und/accuracy'] == 0.0


def test_the_state_is_saved_on_the_way_but_not_at_the_end():
  saved = []
  run(
    6,
    hooks={'save': lambda state, *_: saved.append(int(state.step))},
    save_every=2,
  )
  assert saved == [2, 4]


def test_samples_are_looked_at_on_the_way_and_at_the_end():
  seen = []
  run(
    5,
    fields={'sample': lambda state: seen.append(int(state.step))},
    sample_every=2,
  )
  assert seen == [2, 4, 5]


@pytest.mark.parametrize('stop', [1, 4, 5])
def test_a_run_that_is_told_to_stop_saves_and_goes_on_as_if_not(stop):
  """Also the means of an interval that it was stopped in."""
  _, whole = run(8, log_every=3)
  saved = {}

  def save(state, rows, skipped):
    saved[int(state.step)] = jax.device_get(state), list(rows)

  answers = iter([False] * (stop - 1) + [True])
  hooks = {'save': save, 'stop': lambda: next(answers)}
  with pytest.raises(interrupts.Stopped, match=f'after step {stop}$'):
    run(8, hooks=hooks, log_every=3, save_every=4)
  assert sorted(saved) == sorted({stop, *([4] if stop > 4 else [])})
  state, rows = saved[stop]
  assert len(rows) == stop % 3
  mesh = tiny.mesh(8, 1)
  places = jax.tree.map(lambda a: a.sharding, tiny_line.state(mesh))
  _, resumed = run(
    8, start=jax.device_put(state, places), rows=rows, log_every=3
  )
  assert sorted(resumed) == [n for n in (3, 6, 8) if n > stop]
  for number, metrics in resumed.items():
    for name, value in metrics.items():
      if not name.startswith(('time/', 'speed/')):
        assert value == whole[number][name], (number, name)


def test_the_last_step_is_no_place_to_stop():
  answers = iter([False, False])
  state, _ = run(3, hooks={'stop': lambda: next(answers)})
  assert int(state.step) == 3


def test_the_time_of_an_interval_is_shared_out():
  # Another test may have compiled the step.
  train_step._program.cache_clear()
  _, log = run(
    6,
    log_every=3,
    fields={'rates': lambda steps, seconds: {'train/speed': steps / seconds}},
  )
  for metrics in log.values():
    shares = {k: v for k, v in metrics.items() if k.startswith('time/')}
    assert {name.removeprefix('time/') for name in shares} <= PARTS
    assert sum(shares.values()) == pytest.approx(1.0)
    assert metrics['train/speed'] * metrics['speed/seconds_per_step'] == (
      pytest.approx(1.0)
    )
  assert log[3]['time/compile'] > 0.1 > log[6]['time/compile']


def test_speed_is_of_learning_alone(monkeypatch):
  """Not of looking at samples, saving or compiling."""
  slept = 0.0

  def sample(_):
    nonlocal slept
    slept += 1.0

  now = lambda: time.perf_counter() + slept
  monkeypatch.setattr(
    timing, 'Stopwatch', functools.partial(timing.Stopwatch, now)
  )
  _, log = run(6, log_every=2, fields={'sample': sample}, sample_every=1)
  for step in (4, 6):
    assert log[step]['time/evaluation'] > 0.5
    assert log[step]['speed/seconds_per_step'] < 0.5


def test_steps_are_waited_for_before_samples_are_looked_at(monkeypatch):
  """Else their time would be that of the samples."""
  waited, seen = [], []
  to_host = processes.to_host

  def counted(pending):
    waited.extend(pending)
    return to_host(pending)

  monkeypatch.setattr(processes, 'to_host', counted)
  run(
    7,
    log_every=5,
    sample_every=2,
    fields={'sample': lambda _: seen.append(len(waited))},
  )
  assert seen == [2, 4, 6, 7]


def test_one_that_is_stopped_while_it_samples_has_saved():
  """Several processes hear of it there."""

  def sample(_):
    raise interrupts.Stopped('stopped')

  saved = []
  with pytest.raises(interrupts.Stopped):
    run(
      9,
      sample_every=4,
      fields={'sample': sample},
      hooks={'save': lambda s, *_: saved.append(int(s.step))},
    )
  assert saved == [4]
