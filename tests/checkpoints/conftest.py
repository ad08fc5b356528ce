"""Tiny runs that the tests of this folder read.

They are run once for all test processes; tests that change files copy them.
"""

import dataclasses
import functools

import pytest
import shared_folders
import tiny_jobs
import tiny_world
import torch_weights

from conversions import convert
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.models import magvit
from hermesflow_jax.runtime import terminal


@pytest.fixture(scope='session')
def once(tmp_path_factory):
  """Returns a function that writes a folder once; see `shared_folders`."""
  return functools.partial(shared_folders.make_once, tmp_path_factory)


@pytest.fixture(scope='session')
def root(once):
  """A folder with the released parts and `run`, a self-play of two rounds."""

  def write(root):
    root.mkdir()
    sizes = tiny_jobs.write_base(root)
    config = dataclasses.replace(
      tiny_world.self_play(root),
      init_from=str(root / 'model'),
      tokenizer=str(root / 'images'),
      # How `text` is often given: a file.
      text=str(root / 'text' / 'tokenizer.json'),
      sizes=sizes,
      # Tests read the models alone: rounds of the same inputs, and no unseen
      # captions, compile the fewest programs.
      fresh_inputs=False,
      unseen=0,
    )
    pair_dpo.run(config, str(root / 'run'), terminal.silent())

  return once('trained_world', write)


@pytest.fixture(scope='session')
def base(once):
  """The folder of a tiny bundle that no test changes."""
  return once('tiny_base', tiny_world.bundle)


@pytest.fixture(scope='session')
def small(base, once):
  """(a bundle, the pairs of a curation by it, a learned model's run)."""

  def write(root):
    curate.run(tiny_jobs.curating(base), str(root / 'pairs'), terminal.silent())
    learn.run(
      tiny_jobs.learning(base, root / 'pairs'),
      str(root / 'learn'),
      terminal.silent(),
    )

  root = once('small_jobs', write)
  return base, root / 'pairs', root / 'learn'


@pytest.fixture(scope='session')
def clip_variant(once):
  """A converted checkpoint of the CLIP variant."""

  def write(root):
    src = torch_weights.write(
      root / 'src',
      torch_weights.arrays('with_clip'),
      torch_weights.config('with_clip'),
    )
    assert (
      convert.main(['showo', str(src), str(root / 'ours')], terminal.silent())
      == 0
    )

  return once('clip_variant', write) / 'ours'


@pytest.fixture(scope='session')
def world(once):
  """A folder with a bundle `base`, and the same Show-o converted as `model`,
  another tokenizer converted as `images`, and the text tokenizer `text`."""
  return once('released_world', write_world)


def write_world(root):
  """Writes the folder of the fixture `world`."""
  model = model_bundle.load_bundle(str(tiny_world.bundle(root / 'base'))).model
  images = torch_weights.random_model(magvit.Magvit, tiny_jobs.MAGVIT, 3)
  torch_weights.write(
    root / 'model_src',
    showo_table.to_torch(model),
    showo_table.official(model.config, 14),
  )
  torch_weights.write(
    root / 'images_src',
    magvit_table.to_torch(images),
    magvit_table.official(tiny_jobs.MAGVIT),
  )
  for kind, name in (('showo', 'model'), ('magvitv2', 'images')):
    assert (
      convert.main(
        [kind, str(root / f'{name}_src'), str(root / name)], terminal.silent()
      )
      == 0
    )
  (root / 'text').mkdir()
  pretrain.world_tokenizer().save(str(root / 'text' / 'tokenizer.json'))
