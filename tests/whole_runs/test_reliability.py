"""Runs that are stopped, killed and joined end with the files of a whole run.

Tests that take minutes: pytest -m slow -s tests/whole_runs/test_reliability.py
"""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import time

import command_runs
import pytest

from hermesflow_jax.checkpoints import checkpoint


def test_two_processes_make_what_one_makes(whole, whole_of_two):
  """But for sums over devices, which are taken in another order."""
  actual, expected = (
    command_runs.outcome(whole_of_two),
    command_runs.outcome(whole),
  )
  for name in expected.keys() - {'model', 'metrics'}:
    assert actual[name] == expected[name], name
  command_runs.assert_near(actual['metrics'], expected['metrics'])


def test_two_processes_ask_a_judge_once_per_question(whole_of_two):
  path = whole_of_two.with_name('two_processes.requests')
  probe, *requests = map(json.dumps, json.loads(path.read_text()))
  assert probe not in requests
  assert len(requests) == len(set(requests))
  files = sorted(path.name for path in (whole_of_two / 'judge').iterdir())
  # Both processes have asked.
  assert files == ['replies-00000.jsonl', 'replies-00001.jsonl']
  replies = [(whole_of_two / 'judge' / name).read_text() for name in files]
  assert sum(text.count('\n') for text in replies) == len(requests)


def test_two_processes_evaluate_what_one_evaluates(
  place, whole_of_two, tmp_path
):
  command_runs.run_here(place.evaluation(tmp_path))
  two = whole_of_two.with_name('two_processes.evaluated')
  names = [
    path.relative_to(tmp_path)
    for path in (tmp_path / 'predictions').rglob('*')
    if path.is_file()
  ]
  # Replies, drawings, and the files of official scorers.
  assert len(names) > 20
  for name in [*names, 'results.json']:
    assert (two / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.slow
def test_adapters_learn_in_two_processes_what_they_learn_in_one(
  place, tmp_path
):
  lora = {'play.lora.rank': 2}
  command_runs.ended(place.start(tmp_path / 'one', **lora))
  for process in place.start_all(tmp_path / 'two', **lora):
    command_runs.ended(process)
  single, two = (
    command_runs.outcome(tmp_path / name)['metrics'] for name in ('one', 'two')
  )
  command_runs.assert_near(two, single)
  adapters = pathlib.Path('round_1', 'training', 'adapters')
  saved = [
    checkpoint.array_hashes(str(tmp_path / n / adapters))
    for n in ('one', 'two')
  ]
  assert saved[0] and saved[0].keys() == saved[1].keys()


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_a_run_that_is_told_to_stop_in_training_goes_on_as_if_not(
  place, whole, whole_of_two, tmp_path, processes
):
  folder = tmp_path / 'run'
  running = place.start_all(folder, processes)
  command_runs.saved_beyond(folder, -1, running)
  running[-1].send_signal(signal.SIGTERM)
  output = [command_runs.ended(process, 130) for process in running]
  assert all('stopped after step' in item for item in output)
  assert all('the same command resumes' in item for item in output)
  for process in place.start_all(folder, processes):
    command_runs.ended(process)
  command_runs.assert_same(folder, whole if processes == 1 else whole_of_two)


def test_one_process_that_could_have_others_stops_when_it_is_told(
  place, tmp_path
):
  """JAX takes the signal for itself, to tell them."""
  (run,) = place.start_all(tmp_path / 'run', 1, together=True)
  command_runs.appears(tmp_path / 'run' / 'settings.json', [run])
  run.send_signal(signal.SIGTERM)
  assert 'the same command resumes' in command_runs.ended(run, 130)


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
  command_runs.appears(folder / reached, running)
  running[-1].send_signal(number)
  for process in running:
    assert 'the same command resumes' in command_runs.ended(process, 130)
  for process in place.start_all(folder):
    command_runs.ended(process)
  command_runs.assert_same(folder, whole_of_two)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize('processes, expected', [(1, 20), (2, 6)])
def test_runs_ended_at_random_times_lose_nothing(
  place, whole, whole_of_two, seconds, tmp_path, number, processes, expected
):
  """Of two processes the second is told, and both are killed."""
  folder, draw, ends = tmp_path / 'run', random.Random(0), 0
  least = 0.1
  if processes == 2:
    whole, seconds = whole_of_two, 2 * seconds
    # Before they have joined, one that is told leaves the other waiting.
    least = 0.4
  while ends < expected:
    began, afresh = time.monotonic(), not folder.exists()
    running = place.start_all(folder, processes)
    try:
      running[-1].communicate(timeout=draw.uniform(least, 1.0) * seconds)
      assert running[-1].returncode == 0
      for process in running[:-1]:
        command_runs.ended(process)
      if afresh:
        # Hours differ: ends drawn by the first run's might all come too late.
        seconds = time.monotonic() - began
      command_runs.assert_same(folder, whole)
      shutil.rmtree(folder)
    except subprocess.TimeoutExpired:
      for process in running[-1:] if number == signal.SIGTERM else running:
        process.send_signal(number)
      for process in running:
        process.communicate()
      # One that is told, or killed beside the other, at its end has command_runs.ended well.
      codes = {process.returncode for process in running}
      assert codes <= {130 if number == signal.SIGTERM else -number, 0}
      ends += codes != {0}
  for process in place.start_all(folder, processes):
    command_runs.ended(process)
  command_runs.assert_same(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize('victim', [0, 1])
def test_the_death_of_a_process_ends_the_others_and_a_restart_goes_on(
  place, whole_of_two, tmp_path, victim
):
  folder = tmp_path / 'run'
  running = place.start_all(folder)
  command_runs.saved_beyond(folder, -1, running)
  running[victim].kill()
  began = time.monotonic()
  for process in running:
    process.communicate(timeout=120)
    assert process.returncode
  print(
    f'\nthe other command_runs.ended after {time.monotonic() - began:.1f} s'
  )
  for process in place.start_all(folder):
    command_runs.ended(process)
  command_runs.assert_same(folder, whole_of_two)


@pytest.mark.slow
def test_a_run_goes_on_with_more_processes_and_with_fewer(
  place, whole, tmp_path
):
  """The same records in each batch, and the same loss but for rounding."""
  folder, met = tmp_path / 'run', -1
  for processes in (1, 2):
    running = place.start_all(folder, processes)
    met = command_runs.saved_beyond(folder, met, running)
    for process in running:
      process.kill()
      process.communicate()
  assert 'resumes at step' in command_runs.ended(place.start(folder))
  command_runs.assert_near(
    command_runs.outcome(folder)['metrics'],
    command_runs.outcome(whole)['metrics'],
  )


@pytest.mark.slow
def test_no_process_outlives_the_run(place, tmp_path):
  before = set(pathlib.Path('/dev/shm').iterdir())
  process = place.start(tmp_path / 'run')
  command_runs.saved_beyond(tmp_path / 'run', -1, [process])
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
