"""Jobs of many runs test the endpoint of their judge once, before any work."""

import dataclasses

import chat_server
import pytest

from hermesflow_jax.experiments import ablation
from hermesflow_jax.experiments import pretraining_control
from hermesflow_jax.experiments import seeds
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import pretraining


def with_judge(comparison, job, judge):
  self_play = dataclasses.replace(comparison.self_play, judge=judge)
  if job is ablation:
    return dataclasses.replace(comparison, self_play=self_play)
  control = pretraining_control.Control(
    scenes=12,
    batches=pretraining.Batches(8, 8, 8),
    mixture=pretraining.TaskMixture(),
  )
  return seeds.Settings(self_play=self_play, seeds=(3, 4), control=control)


def interrupt(*_, **__):
  raise KeyboardInterrupt


@pytest.mark.parametrize('job', [seeds, ablation])
def test_an_endpoint_is_tested_before_any_weight_is_read(
  comparison, job, tmp_path, monkeypatch
):
  monkeypatch.setattr(job_model, 'load_parts', interrupt)
  run = str(tmp_path / 'run')
  with chat_server.Server() as server:
    config = with_judge(comparison, job, server.settings(retries=0))
    with pytest.raises(KeyboardInterrupt):
      job.run(config, run, terminal.silent())
    assert len(server.bodies) == 1
  other = tmp_path / 'other'
  with pytest.raises(ValueError, match='judge.url must be an endpoint that'):
    job.run(config, str(other), terminal.silent())
  assert not other.exists()


def test_the_runs_of_seeds_do_not_test_it_again(
  comparison, tmp_path, monkeypatch
):
  judges = []

  def stopped(config, *_):
    judges.append(config.judge)
    raise KeyboardInterrupt

  monkeypatch.setattr(pair_dpo, 'run', stopped)
  with chat_server.Server() as server:
    config = with_judge(comparison, seeds, server.settings())
    with pytest.raises(KeyboardInterrupt):
      seeds.run(config, str(tmp_path / 'run'), terminal.silent())
    assert len(server.bodies) == 1
  assert judges == [server.settings(probe=False)]
