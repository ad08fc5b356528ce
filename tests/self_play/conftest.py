"""A tiny model, and a self-play run of two rounds."""

import file_runs
import pytest
import shared_folders
import tiny_world

from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import terminal


@pytest.fixture(scope='session')
def base(tmp_path_factory):
  """The folder of a tiny bundle that no test changes."""
  return shared_folders.make_once(
    tmp_path_factory, 'tiny_base', tiny_world.bundle
  )


@pytest.fixture(scope='session')
def config(base):
  """Settings of two rounds on the embedded world."""
  return tiny_world.self_play(base)


@pytest.fixture(scope='session')
def whole(config, tmp_path_factory):
  """The folder of a run that nothing has stopped."""
  return shared_folders.make_once(
    tmp_path_factory,
    'self_play_run',
    lambda folder: pair_dpo.run(config, str(folder), terminal.silent()),
  )


@pytest.fixture
def file_config(base, tmp_path):
  """Settings of a round on files that a test may change."""
  return file_runs.one_round(base, tmp_path)
