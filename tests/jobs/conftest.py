"""Small models and runs, and commands that stop before work."""

import json
import pathlib
import shutil
import sys

import curate_runs
import jax
import learn_runs
import numpy as np
import pytest
import shared_folders
import tiny_world

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import learn
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.training import train_step
import main


@pytest.fixture
def start(capfd, monkeypatch, tmp_path):
  """Runs main in an empty folder: (exit code, standard error)."""
  monkeypatch.chdir(tmp_path)
  # A config that this process read before would lend its functions.
  monkeypatch.delitem(sys.modules, 'config_config', raising=False)
  verbosity = main.logging.get_verbosity()

  def call(*arguments):
    capfd.readouterr()
    code = main.main(['main.py', *map(str, arguments)])
    return code, capfd.readouterr().err

  yield call
  main.logging.set_verbosity(verbosity)


@pytest.fixture(scope='session')
def base(tmp_path_factory):
  """The folder of a tiny bundle that no test changes."""
  return shared_folders.make_once(
    tmp_path_factory, 'tiny_base', tiny_world.bundle
  )


@pytest.fixture
def copy(base, tmp_path):
  """A bundle to change."""
  return pathlib.Path(shutil.copytree(base, tmp_path / 'copy'))


@pytest.fixture
def idle(monkeypatch):
  """Makes any work on a device a failure of the test."""

  def work(*args, **kwargs):
    raise AssertionError('device work before all was checked')

  for name in ('encode', 'decode', 'draw', 'describe', 'answer'):
    monkeypatch.setattr(unified_model.UnifiedModel, name, work)
  monkeypatch.setattr(train_step, 'make_step', work)
  monkeypatch.setattr(jax, 'device_put', work)


@pytest.fixture
def stopped(monkeypatch):
  """A job that is stopped as soon as its folder is claimed."""

  def stop(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(jax, 'device_put', stop)


@pytest.fixture(scope='session')
def whole_curation(base, tmp_path_factory):
  """The folder of a curation that nothing stopped."""
  return shared_folders.make_once(
    tmp_path_factory,
    'whole_curation',
    lambda folder: curate_runs.run(base, folder),
  )


@pytest.fixture(scope='session')
def pairs(base, tmp_path_factory):
  """The folder of a curation to learn from."""
  return shared_folders.make_once(
    tmp_path_factory,
    'pairs',
    lambda folder: curate.run(
      learn_runs.curation(base), str(folder), terminal.silent()
    ),
  )


@pytest.fixture(scope='session')
def learned(base, pairs, tmp_path_factory):
  """The folder of a model that learned from these pairs, and the results."""
  folder = shared_folders.make_once(
    tmp_path_factory,
    'learned',
    lambda folder: learn.run(
      learn_runs.configured(base, pairs), str(folder), terminal.silent()
    ),
  )
  return folder, json.loads((folder / 'results.json').read_text())


@pytest.fixture
def few(monkeypatch):
  """Candidates without any sampling: captions by the inputs' names."""

  def generate(unified, inputs, config):
    names = [int(name.rpartition('-')[2]) for name in inputs.ids]
    captions = [
      [f'a ring {"and a dog " * (n % 3)}', f'two cups {n % 2}'] for n in names
    ]
    codes = np.arange(len(names) * config.images * 16, dtype=np.int32) % 7
    answers = [[q['answer'] for q in of_input] for of_input in inputs.questions]
    answers = [answer for answer in answers for _ in range(config.images)]
    return captions, codes.reshape(len(names), config.images, 16), answers

  monkeypatch.setattr(candidate_generation, 'generate', generate)
