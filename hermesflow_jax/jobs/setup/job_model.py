"""The model of a job: located, loaded, and placed on the device mesh."""

from __future__ import annotations

import dataclasses
import pathlib
import typing

import jax

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import text_similarity
from hermesflow_jax.sequences import text_tokenizer

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import initial_model
  from hermesflow_jax.checkpoints import lora_checkpoint
  from hermesflow_jax.checkpoints import model_bundle
  from hermesflow_jax.checkpoints import model_folder
  from hermesflow_jax.checkpoints import part_checks
  from hermesflow_jax.checkpoints import run_folder
  from hermesflow_jax.jobs.setup import mesh_config
  from hermesflow_jax.jobs.setup import vision_tower
  from hermesflow_jax.models import abstract_modules
  from hermesflow_jax.models import lora
  from hermesflow_jax.models import magvit
  from hermesflow_jax.models import showo
  from hermesflow_jax.sampling import question_answering
  from hermesflow_jax.sampling import unified_model

# What settings that name a tokenizer accept.
_TOKENIZERS = {
  'tokenizer': (
    'a folder that `python -m conversions.convert magvitv2` wrote, or the '
    'folder of a model or run'
  ),
  'text': 'a folder with a tokenizer.json, e.g. of microsoft/phi-1_5',
}


@dataclasses.dataclass(frozen=True)
class ModelSettings:
  """Settings of every job that has a model.

  Attributes:
    mesh: devices.
    init_from: folder of a model: a trained model (a round of `pair_dpo`,
      `model/` of `learn` or `pretrain`), a bundle, or a Show-o that
      `conversions.convert` wrote. The folder of a run of these jobs means its
      newest model (e.g. runs/pair_dpo: the newest finished round).
      'assets:<name>' is a bundle that is shipped.
    tokenizer: image tokenizer: a MAGVIT-v2 that `conversions.convert` wrote,
      or the folder of a model or run that has one.
    text: folder of the text tokenizer. A converted Show-o needs `tokenizer`
      and `text`. A trained model and a bundle have their own: then both may
      be '', and if they exist, they must be the same.
    missing: says how to get the model and the tokenizers; '' if they are
      shipped.
    sizes: expected sizes; None takes the sizes of a trained model or a bundle.
    chunk: most rows that a device samples at once.
    adapters: folder that `lora_checkpoint.save_adapters` wrote, e.g. in
      `conversions.convert lora`; its adapters are added to the model. The
      folder of a run means its newest adapters. '' for none.
  """

  mesh: mesh_config.MeshConfig = settings.may_change_on_resume()
  init_from: str = settings.path_of_content('base')
  tokenizer: str = settings.path_of_content('base')
  text: str = settings.path_of_content('text_tokenizer')
  missing: str = settings.may_change_on_resume()
  sizes: model_folder.Sizes | None
  chunk: settings.PositiveInt = settings.may_change_on_resume()
  adapters: str = settings.path_of_content('base')
  # Whether the model of the job reads images, and not texts alone.
  reads_images: typing.ClassVar[bool] = True

  def __post_init__(self):
    settings.check(self)


def abstract_model(sizes: model_folder.Sizes):
  """Returns the model and the image tokenizer as shapes, without any memory."""
  return (
    abstract_modules.abstract_module(showo.ShowO, sizes.transformer),
    abstract_modules.abstract_module(magvit.Magvit, sizes.tokenizer),
  )


def locate(
  config: ModelSettings, console: terminal.Console | None = None
) -> pathlib.PurePath:
  """Returns the model folder that the run starts from.

  Everything is checked that needs no weights. All processes call it.

  Args:
    config: job settings.
    console: reports which model of a run is taken, tokenizers that do not
      exist, and a model that was trained on images of another size.

  Raises:
    ValueError: the model or a part of it is missing (with the command that
      makes it), or no job can start from it.
  """
  console = console or terminal.silent()
  name = config.init_from
  if not name:
    raise ValueError(
      "init_from must be the folder of a model or run, got ''; give e.g. "
      'assets:shapes, runs/pair_dpo or checkpoints/show_o_256'
    )
  if name.startswith('assets:'):
    name = initial_model.ASSETS / name.removeprefix('assets:')
  initial_model.check_exists([str(name)], config.missing)
  model = initial_model.open(name)
  path = storage.path(model.path)
  if path != storage.path(name):
    console.say(f'init_from {name}: using {path}')
  initial_model.check_exists([str(path)], config.missing)
  trained = model.config()
  vision_tower.check(config, str(path), trained)
  if trained.clip_width and not config.reads_images:
    console.say(f'{path} draws without its CLIP tower, which only reads images')
  _check_tokenizers(config, model, console)
  if config.sizes:
    image_tokens = config.sizes.transformer.image_tokens
    if trained.image_tokens != image_tokens:
      console.say(
        f'{path} was trained with {trained.image_tokens} tokens per image; '
        f'this run has {image_tokens}'
      )
  if config.adapters:
    _locate_adapters(config, console)
  return path


def _locate_adapters(config, console):
  """Checks that adapters exist, and reports which of a run are taken."""
  adapters = run_folder.newest_adapters(config.adapters)
  if adapters is None:
    if (storage.path(config.adapters) / 'adapter_config.json').is_file():
      raise ValueError(
        'adapters must be a folder of this library, got the PEFT folder '
        f'{config.adapters}: convert it by `python -m conversions.convert lora '
        f'{config.adapters} <folder> --base={config.init_from}`, then give '
        '<folder>'
      )
    raise ValueError(
      f'adapters must be a folder that training or a conversion wrote, got '
      f'{config.adapters}: no checkpoint at this path'
    )
  if adapters != storage.path(config.adapters):
    console.say(f'adapters {config.adapters}: using {adapters}')


def _check_tokenizers(config, model, console):
  """Checks that the tokenizers that a model needs exist.

  Beside a trained model or a bundle the settings may name folders that do not
  exist: configs for converted models do so by default, and the folders of an
  old run may be gone. The console reports these.
  """
  for setting, accepted in _TOKENIZERS.items():
    path = getattr(config, setting)
    if part_checks.exists(path) or (not path and model.has_tokenizers):
      continue
    fault = f'{setting} must be {accepted}, got {path!r}' + (
      ', which does not exist' if path else ''
    )
    if not model.has_tokenizers:
      # `missing` names the folders that its commands make.
      if path and path in config.missing:
        raise ValueError(f'{fault}. {config.missing}')
      raise ValueError(f'{fault}; check the name')
    console.say(f'{setting} {path} does not exist: using that of {model.path}')


def make_mesh(
  config: ModelSettings,
  path: pathlib.PurePath,
  console: terminal.Console,
  batch: int,
  accumulate: int = 1,
) -> jax.sharding.Mesh:
  """Returns the mesh for a job that trains; see `mesh_config.MeshConfig`.

  Args:
    config: job settings.
    path: model folder, from `locate`; it has the sizes of the model
      where `config` has none.
    console: reports the mesh that was chosen.
    batch: pairs or rows per step.
    accumulate: parts that a batch is computed in.

  Raises:
    ValueError: see `mesh_config.MeshConfig.make`; or the sizes cannot be read.
  """
  sizes = config.sizes or initial_model.open(path).config()
  return config.mesh.make(
    batch, accumulate, mesh_config.model_divisor(sizes.decoder), console.say
  )


def load_parts(
  config: ModelSettings, path: pathlib.PurePath, mesh
) -> model_bundle.Bundle:
  """Reads a job's model, with its adapters added.

  Args:
    config: job settings.
    path: model folder, from `locate`.
    mesh: device mesh that checkpoints are restored onto.

  Raises:
    ValueError: see `model_folder.ModelFolder.load` and
      `lora_checkpoint.read_adapters`.
  """
  parts = initial_model.open(path).load(
    config.sizes, mesh, config.tokenizer, config.text
  )
  if not config.adapters:
    return parts
  adapters, kind = lora_checkpoint.read_adapters(
    str(run_folder.newest_adapters(config.adapters)), parts.model, mesh
  )
  model = jax.device_put(parts.model, sharding.shardings(parts.model, mesh))
  return dataclasses.replace(
    parts, model=lora.merge(model, adapters, config=kind)
  )


def place_on_mesh(
  config: ModelSettings,
  parts: model_bundle.Bundle,
  mesh,
  console: terminal.Console,
  answering: question_answering.AnswerConfig | None = None,
  caption_prompt: str = text_tokenizer.CAPTION_PROMPT,
  matcher: text_similarity.Matcher = text_similarity.nearest_choices,
) -> unified_model.UnifiedModel:
  """Returns the model of a bundle, placed on a mesh and ready to sample.

  Args:
    config: job settings, with the rows that a device samples at once.
    parts: the model, from `load_parts`.
    mesh: device mesh.
    console: shows progress.
    answering: how questions with choices are answered; None for the default.
    caption_prompt: prompt that captions are asked with.
    matcher: maps a free reply to the nearest choice.
  """
  return unified_model.place_on_mesh(
    parts,
    mesh,
    config.chunk,
    progress=console.progress,
    answering=answering or question_answering.AnswerConfig(),
    caption_prompt=caption_prompt,
    matcher=matcher,
    vision=vision_tower.load(config, mesh),
  )
