"""A run that ends in between is the run that does not."""

import functools
import json
import signal

import jax
import numpy as np
import pytest
import tiny
import tiny_line
import tiny_runs

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import rotation
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import resume
from hermesflow_jax.training import training_loop

MESH = (4, 2)


def run(
  folder,
  steps=9,
  broken=(),
  until=None,
  messages=None,
  number=signal.SIGTERM,
  times=1,
  **loop,
):
  """Runs; `until`: the step at which the process gets signal `number`."""
  mesh = tiny.mesh(*MESH)

  def batches(start):
    stream = tiny_line.batches(mesh, broken, start)
    for step in range(start, steps):
      if step == until:
        for _ in range(times):
          signal.raise_signal(number)
      yield next(stream)

  silent = terminal.silent()
  return resume.run_resumable(
    tiny_runs.training_run(
      mesh,
      steps,
      loop={'log_every': 4, 'save_every': 3} | loop,
      batches=batches,
      folder=str(folder),
      console=terminal.Console(
        messages.append if messages is not None else silent.say, silent.progress
      ),
    )
  )


def metrics(folder):
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [
    {
      k: v
      for k, v in json.loads(line).items()
      if not k.startswith(('time', 'speed'))
    }
    for line in lines
  ]


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  """broken -> folder and last state of a run that nothing stops."""

  @functools.cache
  def finished(broken=()):
    folder = tmp_path_factory.mktemp('uninterrupted')
    return folder, jax.device_get(run(folder, broken=broken))

  return finished


# Before and after steps that are not finite, and within the last step.
@pytest.mark.parametrize(
  'until, broken', [(0, ()), (2, (1, 5)), (5, (1, 5)), (7, ()), (8, (1, 5))]
)
def test_a_run_that_is_told_to_stop_is_the_whole_run(
  tmp_path, uninterrupted, until, broken
):
  """Also where a step of the unfinished interval was not finite."""
  folder, expected = uninterrupted(broken)
  with pytest.raises(interrupts.Stopped, match=f'after step {until + 1}$'):
    run(tmp_path / 'run', broken=broken, until=until)
  messages = []
  state = run(tmp_path / 'run', broken=broken, messages=messages)
  assert messages == [f'toy: resumes at step {until + 1}']
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  assert metrics(tmp_path / 'run') == metrics(folder)
  assert [row['step'] for row in metrics(tmp_path / 'run')] == [4, 8, 9]


def test_one_that_has_saved_its_last_step_keeps_it(tmp_path, monkeypatch):
  """Told again at its second start, it does not write it again."""
  with pytest.raises(interrupts.Stopped, match='after step 9$'):
    run(tmp_path / 'run', until=8)
  monkeypatch.setattr(interrupts.StopSignal, '__call__', lambda self: True)
  monkeypatch.setattr(checkpoint, 'save_async', pytest.fail)
  with pytest.raises(interrupts.Stopped, match='after step 9$'):
    run(tmp_path / 'run')
  monkeypatch.undo()
  assert int(run(tmp_path / 'run').step) == 9


def test_lines_after_the_checkpoint_are_written_once(tmp_path):
  """Of a run that was killed after it had logged more than it had saved."""
  expected = run(tmp_path / 'whole', log_every=1)
  run(tmp_path / 'run', steps=5, log_every=1)
  path = tmp_path / 'run' / 'metrics.jsonl'
  path.write_text(path.read_text() + '{"step": 6, "tra')
  state = run(tmp_path / 'run', log_every=1)
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  assert metrics(tmp_path / 'run') == metrics(tmp_path / 'whole')


def test_signals_are_the_process_s_own_again(tmp_path):
  numbers = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
  before = [signal.getsignal(number) for number in numbers]
  run(tmp_path / 'run')
  assert before == [signal.getsignal(number) for number in numbers]


def test_a_second_interrupt_stops_at_once_and_the_run_goes_on(
  tmp_path, uninterrupted
):
  with pytest.raises(KeyboardInterrupt) as stopped:
    run(tmp_path / 'run', until=4, number=signal.SIGINT, times=2)
  assert not isinstance(stopped.value, interrupts.Stopped)
  messages = []
  state = run(tmp_path / 'run', messages=messages)
  assert messages == ['toy: resumes at step 3']
  folder, expected = uninterrupted()
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  assert metrics(tmp_path / 'run') == metrics(folder)


def test_a_hangup_saves_as_well(tmp_path, interruptible):
  with pytest.raises(interrupts.Stopped, match='after step 3$'):
    run(tmp_path / 'run', until=2, number=signal.SIGHUP)
  assert (tmp_path / 'run' / 'steps' / '3').exists()


def test_a_hangup_that_nohup_ignores_is_ignored(tmp_path):
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    state = run(tmp_path / 'run', until=2, number=signal.SIGHUP)
  finally:
    signal.signal(signal.SIGHUP, before)
  assert int(state.step) == 9


def test_steps_that_are_not_finite_are_told_also_on_a_full_disk(
  tmp_path, monkeypatch
):
  class Full:
    def result(self):
      raise OSError(28, 'No space left on device')

  monkeypatch.setattr(checkpoint, 'save_async', lambda *_: Full())
  with pytest.raises(
    training_loop.NonFiniteError,
    match='4 of the last 4 .*last checkpoint: unknown, .*No s',
  ):
    run(tmp_path / 'run', broken=range(9), max_skipped=2)


def test_a_disk_that_is_full_ends_the_run_in_one_line(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(checkpoint, 'save_async', full)
  with pytest.raises(OSError, match='3 could not be written: .*No space left'):
    run(tmp_path / 'run')


def test_a_run_that_is_not_finite_says_where_its_last_checkpoint_is(tmp_path):
  """Which is whole when that is messages."""
  broken = range(4, 9)
  with pytest.raises(training_loop.NonFiniteError) as caught:
    run(tmp_path / 'run', broken=broken, max_skipped=2)
  last = tmp_path / 'run' / 'steps' / '6'
  assert str(caught.value).endswith(f'; the last checkpoint: {last}')
  assert checkpoint.read_metadata(str(last))
  with pytest.raises(
    training_loop.NonFiniteError, match='the last checkpoint: none$'
  ):
    run(tmp_path / 'none', broken=broken, max_skipped=2, save_every=0)


def test_a_run_in_a_bucket_that_is_stopped_is_the_whole_run(
  bucket, tmp_path, uninterrupted
):
  (folder, expected), messages, until = uninterrupted(), [], 7
  with pytest.raises(interrupts.Stopped, match=f'after step {until + 1}$'):
    run('gs://bucket/run', until=until)
  state = run('gs://bucket/run', messages=messages)
  assert messages == [f'toy: resumes at step {until + 1}']
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  bucket.get_folder('run', tmp_path / 'run')
  assert metrics(tmp_path / 'run') == metrics(folder)


def test_a_run_in_a_bucket_that_is_killed_is_the_whole_run(
  bucket, tmp_path, uninterrupted, monkeypatch
):
  """What was measured before its last checkpoint is there, what after is not.

  Lines are of steps 4, 8 and 9, checkpoints of 3 and 6.
  """
  (folder, expected), kept, last = uninterrupted(), {}, 6
  save = rotation.CheckpointRotation.save

  def killed(series, state, notes):
    save(series, state, notes)
    if int(state.step) == last:
      series.wait()
      kept.update(bucket.blobs)  # What is there when the process ends.

  with monkeypatch.context() as patch:
    patch.setattr(rotation.CheckpointRotation, 'save', killed)
    run('gs://bucket/run')
  bucket.blobs, messages = kept, []
  state = run('gs://bucket/run', messages=messages)
  assert messages == [f'toy: resumes at step {last}']
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  bucket.get_folder('run', tmp_path / 'run')
  assert metrics(tmp_path / 'run') == metrics(folder)
