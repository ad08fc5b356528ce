"""Tiny runs that the tests of this folder read.

They are run once; tests that change files copy them.
"""

import dataclasses

from flax import nnx
import pytest
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
def root(tmp_path_factory):
  """A folder with the released parts and `run`, a self-play of two rounds."""
  root = tmp_path_factory.mktemp('world')
  sizes = tiny_jobs.write_base(root)
  config = dataclasses.replace(
    tiny_world.self_play(root),
    init_from=str(root / 'model'),
    tokenizer=str(root / 'images'),
    text=str(root / 'text'),
    sizes=sizes,
  )
  # How `text` is often given: a file. Tests read the models alone: rounds of
  # the same inputs, and no unseen captions, compile the fewest programs.
  config = dataclasses.replace(
    config,
    text=str(root / 'text' / 'tokenizer.json'),
    fresh_inputs=False,
    unseen=0,
  )
  pair_dpo.run(config, str(root / 'run'), terminal.silent())
  return root


@pytest.fixture(scope='session')
def small(tmp_path_factory):
  """(a bundle, the pairs of a curation by it, a learned model's run)."""
  root = tmp_path_factory.mktemp('small')
  base = tiny_world.bundle(root / 'base')
  curate.run(tiny_jobs.curating(base), str(root / 'pairs'), terminal.silent())
  learn.run(
    tiny_jobs.learning(base, root / 'pairs'),
    str(root / 'learn'),
    terminal.silent(),
  )
  return base, root / 'pairs', root / 'learn'


@pytest.fixture(scope='session')
def clip_variant(tmp_path_factory):
  """A converted checkpoint of the CLIP variant."""
  root = tmp_path_factory.mktemp('clip')
  src = torch_weights.write(
    root / 'src',
    torch_weights.arrays('with_clip'),
    torch_weights.config('with_clip'),
  )
  assert (
    convert.main(['showo', str(src), str(root / 'ours')], terminal.silent())
    == 0
  )
  return root / 'ours'


@pytest.fixture(scope='session')
def world(tmp_path_factory):
  """A folder with a bundle `base`, and the same Show-o converted as `model`,
  another tokenizer converted as `images`, and the text tokenizer `text`."""
  root = tmp_path_factory.mktemp('world')
  model = model_bundle.load_bundle(str(tiny_world.bundle(root / 'base'))).model
  images = torch_weights.noisy(magvit.Magvit(tiny_jobs.MAGVIT, nnx.Rngs(3)), 3)
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
  return root
