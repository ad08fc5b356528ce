"""Checkpoints of a run: the newest that is whole, and nothing else."""

import errno
import json
import resource
import shutil

from flax import nnx
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest
import tiny
import tiny_line

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import rotation
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.training import train_step

# When one read of a damaged checkpoint fails, orbax forgets the others.
pytestmark = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning'
)

RUN = {'settings': {'lr': 0.1, 'names': ['a', 'b']}}


@pytest.fixture
def lines():
  return []


@pytest.fixture
def series(tmp_path, lines):
  return rotation.CheckpointRotation(tmp_path / 'steps', RUN, lines.append)


def state(number):
  first = tiny_line.state(tiny.mesh(4, 2))
  kernel = first.model.kernel[...] + number
  first.model.kernel[...] = kernel
  return train_step.TrainState(
    jax.device_put(np.int32(number), first.step.sharding),
    first.model,
    first.opt_state,
  )


def newest(series, expected=None):
  first = state(0) if expected is None else expected
  expected = jax.eval_shape(lambda: first)
  return series.newest(expected, sharding.shardings(expected, tiny.mesh(4, 2)))


def saved(series, *numbers):
  for number in numbers:
    series.save(state(number), {'rows': [number]})
  series.wait()


def kept(series):
  return sorted(path.name for path in series.root.iterdir())


def test_the_newest_comes_back_with_its_notes(series, lines):
  assert newest(series) is None
  saved(series, 2, 4)
  restored, notes = newest(series)
  assert notes == {'rows': [4]} and not lines
  jax.tree.map(np.testing.assert_array_equal, restored, state(4))


def test_only_the_newest_are_kept(series):
  saved(series, 1, 5, 20, 100)
  assert kept(series) == ['100', '20']


def flip(folder):
  """Flips a bit of each array's file."""
  for file in folder.rglob('d/*'):
    data = bytearray(file.read_bytes())
    for n in range(0, len(data), 50):
      data[n] ^= 1
    file.write_bytes(data)


def truncate(folder):
  for file in folder.rglob('d/*'):
    file.write_bytes(file.read_bytes()[:20])


def empty(folder):
  shutil.rmtree(folder)
  folder.mkdir()


def without_record(folder):
  shutil.rmtree(folder / 'meta')


@pytest.mark.parametrize('damage', [flip, truncate, empty, without_record])
def test_a_damaged_one_is_named_passed_over_and_replaced(series, lines, damage):
  saved(series, 2, 4)
  damage(series.root / '4')
  restored, notes = newest(series)
  assert int(restored.step) == 2 and notes == {'rows': [2]}
  assert len(lines) == 1 and f'{series.root}/4' in lines[0]
  saved(series, 4)
  assert int(newest(series)[0].step) == 4 and len(lines) == 1


def test_where_all_are_damaged_the_run_starts_again(series, lines):
  saved(series, 2, 4)
  for name in kept(series):
    empty(series.root / name)
  assert newest(series) is None and len(lines) == 2
  # What it saves then is lower, and stays.
  saved(series, 1)
  assert kept(series) == ['1'] and int(newest(series)[0].step) == 1


@pytest.mark.parametrize(
  'error',
  [
    OSError(errno.EIO, 'no answer'),
    MemoryError('too large'),
    RuntimeError('RESOURCE_EXHAUSTED: out of memory'),
  ],
)
def test_what_the_machine_lacks_is_no_damage(series, lines, monkeypatch, error):
  saved(series, 2, 4)

  def fails(path, parts):
    if 'arrays' in parts:
      raise RuntimeError('outer') from error
    return load(path, parts)

  load = ocp.load_checkpointables
  monkeypatch.setattr(ocp, 'load_checkpointables', fails)
  with pytest.raises(OSError, match='4 could not be read: '):
    newest(series)
  assert not lines and kept(series) == ['2', '4']


def test_what_a_killed_process_left_is_cleared_and_strays_do_not_count(series):
  saved(series, 2)
  (series.root / '9.orbax-checkpoint-tmp').mkdir()
  (series.root / 'notes').mkdir()
  (series.root / '\N{SUPERSCRIPT TWO}').mkdir()
  (series.root / '77').write_text('no folder')
  assert int(newest(series)[0].step) == 2
  assert '9.orbax-checkpoint-tmp' not in kept(series)


def test_that_of_another_run_is_refused_and_says_why(series, tmp_path):
  saved(series, 2)
  changed = {'settings': RUN['settings'] | {'lr': 0.2}, 'seed': 1}
  other = rotation.CheckpointRotation(series.root, changed, print)
  with pytest.raises(
    ValueError,
    match='with other settings: seed None -> 1, settings.lr 0.1 -> 0.2$',
  ):
    newest(other)
  checkpoint.save(str(series.root / '3'), state(3), {'by': 'hand'})
  with pytest.raises(ValueError, match='3 belongs to another run'):
    newest(series)


def test_one_that_does_not_fit_is_refused(series):
  saved(series, 2)
  wider = train_step.init_state(
    lambda key: nnx.Linear(4, 1, rngs=nnx.Rngs(key)),
    tiny_line.optim(),
    tiny_line.KEY,
    tiny.mesh(4, 2),
  )
  with pytest.raises(
    ValueError, match='model/kernel must be float32.4, 1., got'
  ):
    newest(series, wider)


@pytest.mark.parametrize('when', ['at once', 'later'])
def test_a_save_that_fails_is_heard_of_and_those_before_stay(
  series, monkeypatch, when
):
  saved(series, 2)

  class Failed:
    def result(self):
      raise RuntimeError('outer') from OSError('no space left on device')

  def fails(*_):
    if when == 'at once':
      return Failed().result()
    return Failed()

  monkeypatch.setattr(checkpoint, 'save_async', fails)
  with pytest.raises(OSError, match='4 could not be written: no space left'):
    series.save(state(4), {})
    series.save(state(6), {})
  monkeypatch.undo()
  assert int(newest(series)[0].step) == 2


def test_a_system_that_takes_no_more_bytes_is_heard_of(series):
  """Not simulated: no file may grow beyond what little is left."""
  saved(series, 2)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
  try:
    with pytest.raises(OSError, match='4 could not be written: .+') as raised:
      series.save(state(4), {})
      series.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert len(str(raised.value).splitlines()) == 1
  assert int(newest(series)[0].step) == 2
  saved(series, 4)
  assert int(newest(series)[0].step) == 4


def test_a_full_disk_is_the_cause_and_gets_its_space_back(series, monkeypatch):
  class Full:
    def result(self):
      (series.root / '4.orbax-checkpoint-tmp').mkdir(parents=True)
      raise ValueError('EXHAUSTED: "x" [No space left on device] at z')

  monkeypatch.setattr(checkpoint, 'save_async', lambda *_: Full())
  with pytest.raises(OSError, match='not be written: No space left on device'):
    saved(series, 4)
  assert kept(series) == []


def test_records_are_json(series):
  saved(series, 2)
  record = checkpoint.read_metadata(str(series.root / '2'))
  assert record == json.loads(json.dumps({'run': RUN, 'notes': {'rows': [2]}}))


@pytest.fixture
def in_bucket(bucket, lines):
  return rotation.CheckpointRotation(
    storage.path('gs://bucket/run/steps'), RUN, lines.append
  )


def numbers(bucket):
  return sorted({name.split('/')[2] for name in bucket.names('run/steps/')})


def test_a_series_in_a_bucket_keeps_the_newest(in_bucket, bucket, lines):
  assert newest(in_bucket) is None
  saved(in_bucket, 1, 5, 20)
  assert numbers(bucket) == ['20', '5']
  restored, notes = newest(in_bucket)
  assert notes == {'rows': [20]} and not lines
  jax.tree.map(np.testing.assert_array_equal, restored, state(20))
  assert in_bucket.written() == 'gs://bucket/run/steps/20'


def test_what_a_killed_process_left_in_a_bucket_is_removed(
  in_bucket, bucket, lines
):
  saved(in_bucket, 5, 20)
  bucket.blobs = {
    name: blob
    for name, blob in bucket.blobs.items()
    if name != 'run/steps/20/commit_success.txt'
  }
  restored, _ = newest(in_bucket)
  jax.tree.map(np.testing.assert_array_equal, restored, state(5))
  assert numbers(bucket) == ['5'] and not lines
  saved(in_bucket, 20)
  assert numbers(bucket) == ['20', '5']


def test_a_bucket_that_refuses_has_no_checkpoints_that_are_lost(
  in_bucket, bucket
):
  saved(in_bucket, 5, 20)
  bucket.fails = lambda method, name: 403 if method == 'GET' else 0
  with pytest.raises(OSError):
    newest(in_bucket)
  bucket.fails = lambda method, name: 0
  jax.tree.map(np.testing.assert_array_equal, newest(in_bucket)[0], state(20))


def test_a_checkpoint_that_a_bucket_refuses_stops_the_run_in_one_line(
  in_bucket, bucket
):
  saved(in_bucket, 5)
  bucket.fails = lambda method, name: 403 if method == 'POST' else 0
  in_bucket_20 = 'checkpoint gs://bucket/run/steps/20 could not be written'
  with pytest.raises(OSError, match=in_bucket_20):
    saved(in_bucket, 20)
  bucket.fails = lambda method, name: 0
  jax.tree.map(np.testing.assert_array_equal, newest(in_bucket)[0], state(5))
