"""Metrics are scalars of TensorBoard and lines of JSON, each step once."""

import errno
import json
import types

import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.summary import Writer

from hermesflow_jax.training import event_files
from hermesflow_jax.training import metrics_log

# The reader leaves its files open.
pytestmark = pytest.mark.filterwarnings(
  'ignore::pytest.PytestUnraisableExceptionWarning', 'ignore::ResourceWarning'
)


def log(folder, *steps, resumed=0, close=True):
  """Logs steps, whose loss is their number."""
  writer = metrics_log.MetricsLog(str(folder), resumed)
  for step in steps:
    writer(step, {'train/loss': float(step), 'train/skipped': 0.0})
  if close:
    writer.close()
  return writer


def read(folder):
  """What TensorBoard reads."""
  events = event_accumulator.EventAccumulator(
    str(folder / 'events'), {event_accumulator.SCALARS: 0}
  )
  events.Reload()
  return events


def steps_of(folder):
  """Steps in both files."""
  events = read(folder).Scalars('train/loss')
  assert [event.value for event in events] == [event.step for event in events]
  lines = (folder / 'metrics.jsonl').read_text().splitlines()
  return [event.step for event in events], [
    json.loads(x)['step'] for x in lines
  ]


def test_metrics_are_plain_scalars(tmp_path):
  log(tmp_path, 1, 2)
  assert read(tmp_path).Tags()['scalars'] == ['train/loss', 'train/skipped']
  assert steps_of(tmp_path) == ([1, 2], [1, 2])


def test_a_killed_run_leaves_all_steps_and_goes_on_with_each_once(tmp_path):
  """Nothing is closed; the run resumes from step 3."""
  killed = log(tmp_path, 1, 2, 3, 4, 5, close=False)
  assert steps_of(tmp_path) == ([1, 2, 3, 4, 5],) * 2
  (file,) = (tmp_path / 'events').iterdir()
  with file.open('ab') as appended:
    appended.write(file.read_bytes()[:20])  # A part of a record.
  log(tmp_path, 4, 5, 6, resumed=3)
  assert steps_of(tmp_path) == ([1, 2, 3, 4, 5, 6],) * 2
  killed.close()


def test_a_run_that_starts_again_has_each_step_once(tmp_path):
  log(tmp_path, 1, 2)
  log(tmp_path, 1, 2)
  assert steps_of(tmp_path) == ([1, 2],) * 2


def test_files_of_earlier_releases_go_on_as_well(tmp_path):
  """They hold tensors; later steps are removed there, too."""
  writer = Writer(str(tmp_path / 'events'))
  for step in (1, 2, 3):
    writer.add_scalar('train/loss', float(step), step=step)
  writer.close()
  log(tmp_path, 3, 4, resumed=2)
  events = read(tmp_path)
  assert [event.step for event in events.Tensors('train/loss')] == [1, 2]
  assert [event.step for event in events.Scalars('train/loss')] == [3, 4]


def test_a_clock_that_is_behind_keeps_the_order(tmp_path, monkeypatch):
  """TensorBoard reads the files of a folder in the order of their names."""
  for clock, steps in ((2e9, [1]), (2e9, [2]), (1e9, [3]), (1e9, [4])):
    stopped = types.SimpleNamespace(time=lambda now=clock: now)
    monkeypatch.setattr(event_files, 'time', stopped)
    log(tmp_path, *steps, resumed=steps[0] - 1)
  assert steps_of(tmp_path)[0] == [1, 2, 3, 4]


def test_other_files_beside_the_events_stay(tmp_path):
  stray = tmp_path / 'events' / 'notes.txt'
  stray.parent.mkdir()
  stray.write_text('mine')
  log(tmp_path, 1)
  assert stray.read_text() == 'mine'


def test_a_run_in_a_bucket_has_each_step_once(bucket, tmp_path):
  for resumed, steps in ((0, [1, 2, 3]), (2, [3, 4])):
    log('gs://bucket/run', *steps, resumed=resumed)
  bucket.get_folder('run', tmp_path)
  assert steps_of(tmp_path) == ([1, 2, 3, 4],) * 2


class Full:
  """A file on a full disk."""

  def write(self, text):
    raise OSError(errno.ENOSPC, 'No space left on device')

  flush = close = lambda self: self.write('')


@pytest.mark.parametrize('part', ['_lines', '_events'])
def test_a_full_disk_is_an_error_that_names_the_files(tmp_path, part):
  writer = metrics_log.MetricsLog(str(tmp_path))
  closed = getattr(writer, part).close
  full = Full()
  full.add = lambda *_: full.write('')
  setattr(writer, part, full)
  with pytest.raises(OSError, match=f'{tmp_path}.*: No space left on device'):
    writer(1, {'train/loss': 1.0})
  with pytest.raises(OSError, match=f'{tmp_path}.*: No space left on device'):
    writer.close()
  closed()
  log(tmp_path, 1, 2)
  assert steps_of(tmp_path) == ([1, 2],) * 2
