"""A small comparison of two arms with two seeds, run once for all tests."""

import json

import ablation_arms
import pytest
import shared_folders
import tiny_world

from hermesflow_jax.experiments import ablation
from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal


@pytest.fixture(scope='session')
def base(tmp_path_factory):
  """The folder of a tiny bundle that no test changes."""
  return shared_folders.make_once(
    tmp_path_factory, 'tiny_base', tiny_world.bundle
  )


@pytest.fixture(scope='session')
def comparison(base):
  return ablation_settings.Settings(
    command='python main.py --config=x --config.seeds=(3,4)',
    variant='table5',
    self_play=tiny_world.self_play(base),
    seeds=ablation_arms.SEEDS,
    arms=(
      ablation_arms.arm(
        'images',
        rates=(1e-2, 1e-1),
        images=2,
        objective={'method': 'dpo_generation'},
      ),
      ablation_arms.arm('pair_dpo'),
    ),
    against='pair_dpo',
    sweeps=(
      ablation_settings.Sweep(
        'candidates',
        (
          ablation_settings.Point('2', 'images'),
          ablation_settings.Point('3', 'pair_dpo'),
        ),
      ),
    ),
    search_scenes=5,
  )


@pytest.fixture(scope='session')
def finished_comparison(comparison, tmp_path_factory):
  root = shared_folders.make_once(
    tmp_path_factory,
    'ablation_run',
    lambda folder: ablation.run(comparison, str(folder), terminal.silent()),
  )
  return root, json.loads((root / 'results.json').read_text())


@pytest.fixture(scope='session')
def base_and_world(comparison, tmp_path_factory):
  """(base model, data of self-play)."""
  mesh = sharding.make_mesh()
  path = job_model.locate(comparison.self_play)
  parts = job_model.load_parts(comparison.self_play, path, mesh)
  base = job_model.place_on_mesh(
    comparison.self_play, parts, mesh, terminal.silent()
  )
  data = tmp_path_factory.mktemp('data')
  return base, pair_dpo.play_data(
    comparison.self_play, base, str(data), terminal.silent()
  )
