"""Metrics of samples are in the log, at their step and once."""

import dataclasses
import json

import pytest
import tiny
import tiny_runs

from hermesflow_jax.runtime import interrupts
from hermesflow_jax.training import resume


def test_a_stopped_run_logs_each_sample_once(tmp_path, monkeypatch):
  run = tiny_runs.training_run(
    tiny.mesh(8, 1),
    5,
    loop={'log_every': 2, 'sample_every': 2, 'sample_first': True},
    folder=str(tmp_path),
    sample=lambda state: {'held_out/total': float(state.step)},
  )
  stops = iter([False, False, True])
  with monkeypatch.context() as patch:
    patch.setattr(
      interrupts.StopSignal, '__call__', lambda self: next(stops, False)
    )
    with pytest.raises(interrupts.Stopped):
      resume.run_resumable(run)
  resume.run_resumable(run)
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  samples = {
    row['step']: row['held_out/total']
    for row in rows
    if 'held_out/total' in row
  }
  assert samples == {0: 0, 2: 2, 4: 4, 5: 5}
  assert len(rows) == len(samples) + 3


def test_a_run_that_starts_again_measures_the_first_step_once(tmp_path):
  run = tiny_runs.training_run(
    tiny.mesh(8, 1),
    1,
    loop={'log_every': 1, 'sample_every': 1, 'sample_first': True},
    folder=str(tmp_path),
    sample=lambda state: {'held_out/total': float(state.step)},
  )
  resume.run_resumable(run)
  resume.run_resumable(dataclasses.replace(run))
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == [0, 1, 1]
