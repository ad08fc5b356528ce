"""Runs that are stopped, killed and joined, by the command line.

What they leave is what one run leaves that nothing happened to. Those that take
minutes: pytest -m slow -s tests/whole_runs/test_reliability.py
"""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_world

from hermesflow_jax.checkpoints import checkpoint

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 24
SMALL = {
  'inputs': 6,
  'fresh_inputs': False,
  'held_out': 4,
  'unseen': 3,
  'gallery': 2,
  'play.rounds': 1,
  'play.images': 2,
  'play.batch': 8,
  'play.epochs': 0.0,
  'play.optim.steps': STEPS,
  'play.log_every': 5,
  'play.save_every': 2,
  'play.optim.lr': 0.01,
  'play.rules.least_win': 0.0,
  'play.rules.both': False,
  'play.curation_sampler.steps': 2,
  'play.evaluation_sampler.steps': 2,
  'play.objective.masks': 1,
}


@dataclasses.dataclass
class Place:
  """Where runs are started.

  Attributes:
    base: the model they start from.
    cache: of compiled programs.
  """

  base: pathlib.Path
  cache: pathlib.Path

  def start(self, folder, processes=1, number=0, port=0, devices=8, **changes):
    """Starts a run, or one of its processes."""
    flags = [f'--config.{k}={v}' for k, v in (SMALL | changes).items()]
    if port:
      flags += [
        f'--coordinator=localhost:{port}',
        f'--process={number}',
        f'--processes={processes}',
      ]
    flags_of_xla = ' '.join(
      (
        f'--xla_force_host_platform_device_count={devices // processes}',
        '--xla_backend_optimization_level=0',
      )
    )
    env = os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': flags_of_xla,
      'JAX_COMPILATION_CACHE_DIR': str(self.cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_DEFAULT_MATMUL_PRECISION': 'highest',
    }
    return subprocess.Popen(
      [
        sys.executable,
        str(ROOT / 'main.py'),
        '--config=configs/pair_dpo.py',
        f'--config.init_from={self.base}',
        f'--workdir={folder}',
        *flags,
      ],
      cwd=ROOT,
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def start_all(self, folder, count=2, together=False, **changes):
    """Starts all processes of a run; one is together with others if asked."""
    if count == 1 and not together:
      return [self.start(folder, **changes)]
    with socket.socket() as free:
      free.bind(('localhost', 0))
      port = free.getsockname()[1]
    return [self.start(folder, count, n, port, **changes) for n in range(count)]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  return Place(
    tiny_world.bundle(tmp_path_factory.mktemp('base')),
    tmp_path_factory.mktemp('cache'),
  )


def ended(process, code=0):
  """What a process said, when it has ended."""
  said, wrong = process.communicate(timeout=300)
  assert process.returncode == code, (process.returncode, said, wrong[-3000:])
  return said + wrong


@pytest.fixture(scope='module')
def whole(place, tmp_path_factory):
  """The folder of a run that nothing happened to, and its seconds."""
  folder = tmp_path_factory.mktemp('whole') / 'run'
  began = time.monotonic()
  ended(place.start(folder))
  return folder, time.monotonic() - began


def outcome(folder):
  """All that a run leaves, but for what a clock says."""
  found = {'model': checkpoint.array_hashes(str(folder / 'checkpoints' / '1'))}
  found['pairs'] = (folder / 'round_1' / 'pairs.jsonl').read_text()
  curated = json.loads((folder / 'round_1' / 'curation.json').read_text())
  del curated['seconds']
  found['curated'] = curated
  with np.load(folder / 'round_1' / 'codes.npz') as arrays:
    found |= {name: array.tolist() for name, array in arrays.items()}
  for number in (0, 1):
    summary = json.loads(
      (folder / f'round_{number}' / 'evaluation.json').read_text()
    )
    del summary['seconds']
    found[number] = summary
  lines = (folder / 'round_1' / 'training' / 'metrics.jsonl').read_text()
  found['metrics'] = [
    {
      k: v
      for k, v in json.loads(line).items()
      if k != 'time' and not k.startswith(('time/', 'speed/', 'device/'))
    }
    for line in lines.splitlines()
  ]
  assert [row['step'] for row in found['metrics']] == [5, 10, 15, 20, 24]
  return found


def assert_same(folder, whole):
  found, wanted = outcome(folder), outcome(whole)
  for name, value in wanted.items():
    assert found[name] == value, name


@pytest.fixture(scope='module')
def whole_of_two(place, tmp_path_factory):
  """The folder of a run of two processes that nothing happened to."""
  folder = tmp_path_factory.mktemp('two') / 'run'
  for process in place.start_all(folder):
    ended(process)
  return folder


def test_two_processes_make_what_one_makes(whole, whole_of_two):
  """But for sums over devices, which are taken in another order."""
  found, wanted = outcome(whole_of_two), outcome(whole[0])
  for name in wanted.keys() - {'model', 'metrics'}:
    assert found[name] == wanted[name], name
  assert_near(found['metrics'], wanted['metrics'])


@pytest.mark.slow
def test_adapters_learn_in_two_processes_what_they_learn_in_one(
  place, tmp_path
):
  lora = {'play.lora.rank': 2}
  ended(place.start(tmp_path / 'one', **lora))
  for process in place.start_all(tmp_path / 'two', **lora):
    ended(process)
  one, two = (outcome(tmp_path / name)['metrics'] for name in ('one', 'two'))
  assert_near(two, one)
  adapters = pathlib.Path('round_1', 'training', 'adapters')
  saved = [
    checkpoint.array_hashes(str(tmp_path / n / adapters))
    for n in ('one', 'two')
  ]
  assert saved[0] and saved[0].keys() == saved[1].keys()


def assert_near(found, wanted):
  for a, b in zip(found, wanted, strict=True):
    for name in ('train/loss', 'train/grad_norm', 'und/winner_nll'):
      assert a[name] == pytest.approx(b[name], rel=1e-5), (a['step'], name)


def saved_beyond(folder, step, running):
  """Waits until a round has saved a later step; returns it."""
  steps = folder / 'round_1' / 'training' / 'steps'
  deadline = time.monotonic() + 300
  while True:
    numbers = [int(p.name) for p in steps.glob('*') if p.name.isdecimal()]
    if max(numbers, default=-1) > step:
      return max(numbers)
    assert time.monotonic() < deadline
    assert all(p.poll() is None for p in running), running[0].communicate()
    time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_a_run_that_is_told_to_stop_in_training_goes_on_as_if_not(
  place, whole, whole_of_two, tmp_path, processes
):
  folder = tmp_path / 'run'
  running = place.start_all(folder, processes)
  saved_beyond(folder, -1, running)
  running[-1].send_signal(signal.SIGTERM)
  said = [ended(process, 130) for process in running]
  assert all('stopped after step' in each for each in said)
  assert all('the same command resumes' in each for each in said)
  for process in place.start_all(folder, processes):
    ended(process)
  assert_same(folder, whole[0] if processes == 1 else whole_of_two)


def appears(path, running):
  """Waits until a run has written a file."""
  deadline = time.monotonic() + 300
  while not path.exists():
    assert time.monotonic() < deadline
    assert all(p.poll() is None for p in running), running[0].communicate()
    time.sleep(0.02)


def test_one_process_that_could_have_others_stops_when_it_is_told(
  place, tmp_path
):
  """JAX takes the signal for itself, to tell them."""
  (run,) = place.start_all(tmp_path / 'run', 1, together=True)
  appears(tmp_path / 'run' / 'settings.json', [run])
  run.send_signal(signal.SIGTERM)
  assert 'the same command resumes' in ended(run, 130)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
  'reached', ['settings.json', 'round_0/evaluation.json']
)
def test_two_processes_that_are_told_outside_training_stop_together(
  place, whole_of_two, tmp_path, number, reached
):
  folder = tmp_path / 'run'
  running = place.start_all(folder)
  appears(folder / reached, running)
  running[-1].send_signal(number)
  for process in running:
    assert 'the same command resumes' in ended(process, 130)
  for process in place.start_all(folder):
    ended(process)
  assert_same(folder, whole_of_two)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize('processes, wanted', [(1, 20), (2, 6)])
def test_runs_ended_at_random_times_lose_nothing(
  place, whole, whole_of_two, tmp_path, number, processes, wanted
):
  """Of two processes the second is told, and both are killed."""
  folder, draw, ends = tmp_path / 'run', random.Random(0), 0
  whole, seconds = whole
  least = 0.1
  if processes == 2:
    whole, seconds = whole_of_two, 2 * seconds
    # Before they have joined, one that is told leaves the other waiting.
    least = 0.4
  while ends < wanted:
    began, afresh = time.monotonic(), not folder.exists()
    running = place.start_all(folder, processes)
    try:
      running[-1].communicate(timeout=draw.uniform(least, 1.0) * seconds)
      assert running[-1].returncode == 0
      for process in running[:-1]:
        ended(process)
      if afresh:
        # Hours differ: ends drawn by the first run's might all come too late.
        seconds = time.monotonic() - began
      assert_same(folder, whole)
      shutil.rmtree(folder)
    except subprocess.TimeoutExpired:
      for process in running[-1:] if number == signal.SIGTERM else running:
        process.send_signal(number)
      for process in running:
        process.communicate()
      # One that is told, or killed beside the other, at its end has ended well.
      codes = {process.returncode for process in running}
      assert codes <= {130 if number == signal.SIGTERM else -number, 0}
      ends += codes != {0}
  for process in place.start_all(folder, processes):
    ended(process)
  assert_same(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_the_death_of_a_process_ends_the_others_and_a_restart_goes_on(
  place, whole_of_two, tmp_path, victim
):
  folder = tmp_path / 'run'
  running = place.start_all(folder)
  saved_beyond(folder, -1, running)
  running[victim].kill()
  began = time.monotonic()
  for process in running:
    process.communicate(timeout=120)
    assert process.returncode
  print(f'\nthe other ended after {time.monotonic() - began:.1f} s')
  for process in place.start_all(folder):
    ended(process)
  assert_same(folder, whole_of_two)


@pytest.mark.slow
def test_a_run_goes_on_with_more_processes_and_with_fewer(
  place, whole, tmp_path
):
  """The same records in each batch, and the same loss but for rounding."""
  folder, met = tmp_path / 'run', -1
  for processes in (1, 2):
    running = place.start_all(folder, processes)
    met = saved_beyond(folder, met, running)
    for process in running:
      process.kill()
      process.communicate()
  assert 'resumes at step' in ended(place.start(folder))
  assert_near(outcome(folder)['metrics'], outcome(whole[0])['metrics'])


@pytest.mark.slow
def test_no_process_outlives_the_run(place, tmp_path):
  before = set(pathlib.Path('/dev/shm').iterdir())
  process = place.start(tmp_path / 'run')
  saved_beyond(tmp_path / 'run', -1, [process])
  mine = pathlib.Path(f'/proc/{process.pid}/task')
  children = [
    int(child)
    for task in mine.iterdir()
    for child in (task / 'children').read_text().split()
  ]
  process.kill()
  process.communicate()
  time.sleep(1)
  assert not [c for c in children if pathlib.Path(f'/proc/{c}').exists()]
  assert set(pathlib.Path('/dev/shm').iterdir()) <= before


def brought(bucket, folder):
  """A copy of the run in the bucket on this machine."""
  shutil.rmtree(folder, ignore_errors=True)
  bucket.get_folder('run', folder)
  return folder


def saved_in_bucket(bucket, step, running):
  """Waits until a round has saved a later step there."""
  place, mark = 'run/round_1/training/steps/', '/commit_success.txt'
  deadline = time.monotonic() + 300
  while True:
    numbers = [
      int(name[len(place) : -len(mark)])
      for name in bucket.names(place)
      if name.endswith(mark)
    ]
    if max(numbers, default=-1) > step:
      return
    assert time.monotonic() < deadline
    assert running.poll() is None, running.communicate()
    time.sleep(0.02)


def test_a_run_in_a_bucket_leaves_what_one_in_a_folder_leaves(
  place, whole, bucket, tmp_path
):
  """Killed in its training; what it starts from is there, too."""
  bucket.put_folder('base', place.base)
  there = dataclasses.replace(place, base='gs://bucket/base')
  run = there.start('gs://bucket/run')
  saved_in_bucket(bucket, 9, run)
  run.kill()
  run.communicate()
  said = ended(there.start('gs://bucket/run'))
  assert 'resumes at step' in said
  assert 'report: gs://bucket/run/report.html' in said
  assert_same(brought(bucket, tmp_path / 'run'), whole[0])
  assert not bucket.names('run/round_1/training/steps/')


@pytest.mark.slow
def test_a_run_in_a_bucket_that_is_told_to_stop_goes_on_as_if_not(
  place, whole, bucket, tmp_path
):
  run = place.start('gs://bucket/run')
  saved_in_bucket(bucket, -1, run)
  run.send_signal(signal.SIGTERM)
  said = ended(run, 130)
  assert 'stopped after step' in said and 'the same command resumes' in said
  ended(place.start('gs://bucket/run'))
  assert_same(brought(bucket, tmp_path / 'run'), whole[0])


@pytest.mark.slow
def test_two_processes_make_in_a_bucket_what_they_make_in_a_folder(
  place, whole_of_two, bucket, tmp_path
):
  running = place.start_all('gs://bucket/run')
  saved_in_bucket(bucket, -1, running[0])
  for process in running:
    process.kill()
    process.communicate()
  for process in place.start_all('gs://bucket/run'):
    ended(process)
  assert_same(brought(bucket, tmp_path / 'run'), whole_of_two)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_runs_in_a_bucket_ended_at_random_times_lose_nothing(
  place, whole, bucket, tmp_path, number
):
  draw, ends = random.Random(0), 0
  whole, seconds = whole
  while ends < 6:
    began, afresh = time.monotonic(), not bucket.names('run/')
    process = place.start('gs://bucket/run')
    try:
      process.communicate(timeout=draw.uniform(0.1, 1.0) * seconds)
      assert process.returncode == 0
      if afresh:
        seconds = time.monotonic() - began
      assert_same(brought(bucket, tmp_path / 'run'), whole)
      bucket.clear()
    except subprocess.TimeoutExpired:
      process.send_signal(number)
      process.communicate()
      # One that is told at its end has ended well.
      assert process.returncode in (-signal.SIGKILL, 130, 0)
      ends += process.returncode != 0
  ended(place.start('gs://bucket/run'))
  assert_same(brought(bucket, tmp_path / 'run'), whole)
