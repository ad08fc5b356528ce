"""Files and settings of jobs with a tiny model of the CLIP variant."""

import dataclasses
import pathlib

import curate_runs
import file_runs
import learn_runs
import tiny_world
import torch_weights

import configs.generate
import configs.understand
from conversions import convert
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import understand
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal


def write(root: pathlib.Path) -> None:
  """Writes a model, another model `judge`, and the tower of both."""
  root.mkdir(exist_ok=True)
  width = torch_weights.CLIP.width
  tiny_world.bundle(root / 'model', 0, width)
  tiny_world.bundle(root / 'judge', 1, width)
  source = torch_weights.write(
    root / 'tower_src',
    torch_weights.arrays('clip_vision'),
    torch_weights.config('clip_vision'),
  )
  command = ['clip_vision', str(source), str(root / 'tower')]
  assert convert.main(command, terminal.silent()) == 0


def curation(root: pathlib.Path, folder: pathlib.Path) -> curate.Settings:
  """Returns settings of a curation of six pictures, written to a folder."""
  config = curate_runs.configured(
    root / 'model', inputs=6, vision=str(root / 'tower')
  )
  files = tiny_world.files(folder, 'preference', 6)
  return dataclasses.replace(config, files=files)


def learning(root: pathlib.Path, pairs: pathlib.Path) -> learn.Settings:
  """Returns settings of three steps on the pairs of a curation."""
  return learn_runs.configured(
    root / 'model', pairs, vision=str(root / 'tower')
  )


def self_play(root: pathlib.Path, folder: pathlib.Path) -> pair_dpo.Settings:
  """Returns settings of a round on pictures, written to a folder."""
  config = file_runs.one_round(root / 'model', folder)
  return dataclasses.replace(config, vision=str(root / 'tower'))


def understanding(
  model: pathlib.Path, tower: str, pictures: pathlib.Path
) -> understand.Settings:
  """Returns settings that caption pictures, and answer a question."""
  config = configs.understand.get_config()
  del config.job
  config.update(
    {
      'init_from': str(model),
      'vision': tower,
      'chunk': 1,
      'images': (str(pictures),),
      'questions': ('what color is the shape ?',),
      'choices': ('red', 'blue'),
    }
  )
  return settings.build(understand.Settings, config.to_dict())


def drawing(model: pathlib.Path) -> generate.Settings:
  """Returns settings that draw an image."""
  config = configs.generate.get_config()
  del config.job
  config.update({'init_from': str(model), 'chunk': 1, 'images_per_prompt': 1})
  config.prompts = ('a red ring',)
  config.sampler.update({'steps': 2, 'guidance': 0.0})
  return settings.build(generate.Settings, config.to_dict())
