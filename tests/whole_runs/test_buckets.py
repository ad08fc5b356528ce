"""Runs in a bucket leave the files of runs in a folder."""

import dataclasses
import random
import signal
import subprocess
import time

import command_runs
import pytest

from hermesflow_jax.pair_dpo import learning


def stops(*_, **__):
  raise KeyboardInterrupt


def test_a_run_in_a_bucket_leaves_what_one_in_a_folder_leaves(
  place, whole, bucket, tmp_path, monkeypatch
):
  """Stopped before its training, then killed in it.

  What it starts from is in the bucket, too.
  """
  bucket.put_folder('base', place.base)
  other = dataclasses.replace(place, base='gs://bucket/base')
  with monkeypatch.context() as patch:
    patch.setattr(learning, 'learn_round', stops)
    output = other.run('gs://bucket/run', code=130)
  assert 'the same command resumes' in output
  assert bucket.names('run/round_1/pairs.jsonl')
  run = other.start('gs://bucket/run')
  command_runs.saved_in_bucket(bucket, 4, run)
  run.kill()
  run.communicate()
  output = other.run('gs://bucket/run')
  assert 'resumes at step' in output
  assert 'report: gs://bucket/run/report.html' in output
  command_runs.assert_same(
    command_runs.brought(bucket, tmp_path / 'run'), whole
  )
  assert not bucket.names('run/round_1/training/steps/')


@pytest.mark.slow
def test_a_run_in_a_bucket_that_is_told_to_stop_goes_on_as_if_not(
  place, whole, bucket, tmp_path
):
  run = place.start('gs://bucket/run')
  command_runs.saved_in_bucket(bucket, -1, run)
  run.send_signal(signal.SIGTERM)
  output = command_runs.ended(run, 130)
  assert 'stopped after step' in output and 'the same command resumes' in output
  command_runs.ended(place.start('gs://bucket/run'))
  command_runs.assert_same(
    command_runs.brought(bucket, tmp_path / 'run'), whole
  )


@pytest.mark.slow
def test_two_processes_make_in_a_bucket_what_they_make_in_a_folder(
  place, whole_of_two, bucket, tmp_path
):
  running = place.start_all('gs://bucket/run')
  command_runs.saved_in_bucket(bucket, -1, running[0])
  for process in running:
    process.kill()
    process.communicate()
  for process in place.start_all('gs://bucket/run'):
    command_runs.ended(process)
  command_runs.assert_same(
    command_runs.brought(bucket, tmp_path / 'run'), whole_of_two
  )


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_runs_in_a_bucket_ended_at_random_times_lose_nothing(
  place, whole, seconds, bucket, tmp_path, number
):
  draw, ends = random.Random(0), 0
  while ends < 6:
    began, afresh = time.monotonic(), not bucket.names('run/')
    process = place.start('gs://bucket/run')
    try:
      process.communicate(timeout=draw.uniform(0.1, 1.0) * seconds)
      assert process.returncode == 0
      if afresh:
        seconds = time.monotonic() - began
      command_runs.assert_same(
        command_runs.brought(bucket, tmp_path / 'run'), whole
      )
      bucket.clear()
    except subprocess.TimeoutExpired:
      process.send_signal(number)
      process.communicate()
      # One that is told at its end has command_runs.ended well.
      assert process.returncode in (-signal.SIGKILL, 130, 0)
      ends += process.returncode != 0
  command_runs.ended(place.start('gs://bucket/run'))
  command_runs.assert_same(
    command_runs.brought(bucket, tmp_path / 'run'), whole
  )
