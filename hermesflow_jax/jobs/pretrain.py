"""Pretrains the unified model on the embedded world."""

from __future__ import annotations

import dataclasses
import functools
import time
import typing

import jax

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import checkpoint
  from hermesflow_jax.checkpoints import initial_model
  from hermesflow_jax.checkpoints import model_bundle
  from hermesflow_jax.checkpoints import run_folder
  from hermesflow_jax.checkpoints import trained_model
  from hermesflow_jax.data import input_set
  from hermesflow_jax.evaluation import gap
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import mesh_config
  from hermesflow_jax.jobs.setup import tokenizer_hashes
  from hermesflow_jax.jobs.setup import vision_tower
  from hermesflow_jax.models import phi_config
  from hermesflow_jax.models import showo
  from hermesflow_jax.sampling import maskgit
  from hermesflow_jax.sampling import unified_model
  from hermesflow_jax.sequences import mask_schedules
  from hermesflow_jax.sequences import text_similarity
  from hermesflow_jax.sequences import text_tokenizer
  from hermesflow_jax.sequences import token_rows
  from hermesflow_jax.sequences import vocabulary
  from hermesflow_jax.shapes import caption_questions
  from hermesflow_jax.shapes import pixel_judge
  from hermesflow_jax.shapes import scene_records
  from hermesflow_jax.shapes import shape_world
  from hermesflow_jax.training import adamw
  from hermesflow_jax.training import pretraining
  from hermesflow_jax.training import resume
  from hermesflow_jax.training import train_step
  from hermesflow_jax.training import training_loop


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    seed: random seed for parameters and batch order.
    mesh: device mesh.
    world: embedded world.
    scenes: captioned scenes to train on.
    tokenizer: model folder or run folder with an image tokenizer, a converted
      MAGVIT-v2, or 'assets:<name>'; see `job_model.ModelSettings`.
    init_from: trained model, its run folder, bundle or converted Show-o whose
      transformer is trained further; '' for a new transformer.
    decoder: transformer sizes.
    lengths: token row lengths.
    mixture: weights and noise for the three training tasks.
    mask_schedule: mask schedule for image tokens.
    optim: optimizer.
    stop: step to stop at, before `optim.steps`; 0 for all steps.
    batches: rows per task in a batch.
    log_every: steps between metric lines.
    save_every: steps between two checkpoints; 0 for none before the end.
    sampler: evaluation image sampler.
    evaluated: held-out scenes to evaluate on.
    export: folder for the model bundle; the run also writes `model/`.
  """

  seed: settings.NonNegativeInt
  mesh: mesh_config.MeshConfig = settings.may_change_on_resume()
  world: shape_world.World
  scenes: settings.PositiveInt
  tokenizer: str = settings.path_of_content('tokenizer_weights')
  init_from: str = settings.path_of_content('base')
  decoder: phi_config.PhiConfig
  lengths: token_rows.Lengths
  mixture: pretraining.TaskMixture
  mask_schedule: str
  optim: adamw.AdamWConfig
  stop: settings.NonNegativeInt
  batches: pretraining.Batches
  log_every: settings.PositiveInt = settings.may_change_on_resume()
  save_every: settings.NonNegativeInt = settings.may_change_on_resume()
  sampler: maskgit.MaskGITSampler
  evaluated: typing.Annotated[int, settings.at_least(2)]
  export: str = settings.may_change_on_resume()

  def __post_init__(self):
    settings.check(self)
    mask_schedules.parse_schedule(self.mask_schedule)


def world_tokenizer() -> text_tokenizer.TextTokenizer:
  """Returns a tokenizer with the embedded world's words."""
  prompt = text_tokenizer.user_turn(text_tokenizer.CAPTION_PROMPT)
  words = prompt.replace(':', ' : ').replace('.', ' . ').lower().split()
  return text_tokenizer.word_level_tokenizer([*caption_questions.WORDS, *words])


def _newest_model(setting, folder, console):
  """Returns the model folder that a setting names.

  Raises:
    ValueError: the tokenizer does not exist, with the ways to get it.
  """
  if folder.startswith('assets:'):
    folder = str(initial_model.ASSETS / folder.removeprefix('assets:'))
  if setting == 'tokenizer' and not storage.path(folder).exists():
    raise ValueError(
      f'no readable bundle at {folder}: tokenizer must be a folder with an '
      'image tokenizer; train it by python main.py '
      "--config=configs/tokenizer.py, or take the shipped model's by "
      '--config.tokenizer=assets:shapes'
    )
  path = str(run_folder.newest_model(folder))
  if path != str(storage.path(folder)):
    console.say(f'{setting} {folder}: using {path}')
  return path


@workdir_claim.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Trains, exports and evaluates the unified model.

  Writes the bundle `config.export`, the model `model/`, then `results.json`.

  Returns:
    Content written to `results.json`: scores, parameters, seconds.

  Raises:
    ValueError: a setting, a model or a folder cannot be used.
  """
  began = time.perf_counter()
  mesh = config.mesh.make(
    config.batches.divisor,
    parts=mesh_config.model_divisor(config.decoder),
    say=console.say,
  )
  tokenizer_path = _newest_model('tokenizer', config.tokenizer, console)
  tokenizer = initial_model.open(tokenizer_path).load_tokenizer(mesh)
  identity = {}
  if config.init_from:
    initial_path = _newest_model('init_from', config.init_from, console)
    first_model = initial_model.open(initial_path)
    vision_tower.check(config, str(initial_path), first_model.config())
    identity['base'] = first_model.weight_hashes(tokenizer_path)
  workdir_claim.check_writable(config.export)
  workdir_claim.claim_workdir(
    workdir,
    config,
    console,
    contents={
      'tokenizer_weights': lambda: tokenizer_hashes.image_hash(tokenizer)
    },
    **identity,
  )
  grid = (shape_world.SIZE // tokenizer.reduction,) * 2
  text = world_tokenizer()
  vocab = vocabulary.Vocab(text.size, tokenizer.config.codebook_size, text.eos)
  sizes = showo.ShowOConfig(vocab, config.decoder, grid[0] * grid[1])
  optim = config.optim
  if config.init_from:
    initial = first_model.load_transformer(sizes, mesh)

  def make_model(key):
    from flax import nnx

    return showo.ShowO(sizes, rngs=nnx.Rngs(key))

  def make_unified(model):
    return unified_model.UnifiedModel(
      model=model,
      tokenizer=tokenizer,
      text=text,
      lengths=config.lengths,
      grid=grid,
      mesh=mesh,
      chunk=128 * mesh.shape['data'],
      progress=console.progress,
    )

  def records(split, count):
    return scene_records.load_scenes(
      str(storage.path(workdir) / 'data'),
      split,
      config.world.seed,
      count,
      config.world.jitter,
      make_unified(None),
    )

  console.say('drawing and encoding scenes')
  rows = records('train', config.scenes)
  transforms = pretraining.transforms(
    vocab, text, config.lengths, config.mixture
  )

  def batches(start):
    return pretraining.batches(
      rows, transforms, config.batches, seed=config.seed, start=start, mesh=mesh
    )

  def make_state():
    if config.init_from:
      return train_step.state_from_model(initial, optim, mesh)
    return train_step.init_state(make_model, optim, key, mesh)

  loss = train_step.hashable_partial(
    pretraining.loss,
    mixture=config.mixture,
    schedule=mask_schedules.parse_schedule(config.mask_schedule),
    image_tokens=sizes.image_tokens,
    reply=config.lengths.reply,
  )
  key = jax.random.key(config.seed)
  training_run = training_loop.TrainingRun(
    step=train_step.make_step(loss, optim, key, mesh),
    make_state=make_state,
    constants=None,
    batches=batches,
    config=training_loop.LoopConfig(
      config.stop or optim.steps, config.log_every, config.save_every
    ),
    mesh=mesh,
    folder=workdir,
    identity=identities.identity_of(
      Settings, settings.to_json_types(config), 'content'
    ),
    comparable=functools.partial(
      identities.identity_of, Settings, of='content'
    ),
    label='pretraining',
    console=console,
  )
  state = resume.run_resumable(training_run)
  model_bundle.save_model(
    config.export, state.model, text, config.lengths, grid
  )
  if config.export != tokenizer_path:
    model_bundle.save_tokenizer(config.export, tokenizer)
  unified = make_unified(state.model)
  _save_model(config, unified, int(state.step), storage.path(workdir) / 'model')
  inputs = input_set.from_records(records('preference', config.evaluated))
  results = _evaluate(config, unified, inputs)
  results['seconds'] = time.perf_counter() - began
  job_results.write_json(storage.path(workdir) / 'results.json', results)
  console.say(
    f'understanding {results["understanding"]:.3f}, '
    f'generation {results["generation"]:.3f}, '
    f'gap {results["gap"]:.3f} on {len(inputs)} scenes'
  )
  return results


def _save_model(config, unified, step, folder):
  """Saves the trained model and its tokenizers."""
  # A run that was killed before it wrote its results may have left a model.
  checkpoint.remove(folder)
  tokenizer = jax.device_put(
    unified.tokenizer, sharding.replicated(unified.mesh)
  )
  trained_model.save_model(
    str(folder),
    dataclasses.replace(unified, tokenizer=tokenizer),
    config.init_from,
    {'steps': step},
  )


def _evaluate(config, unified, inputs):
  """Returns mean scores on held-out scenes, and the parameter count."""
  evaluation = gap.evaluate(
    unified,
    inputs,
    config.sampler,
    pixel_judge.judge_of_codes(unified.decode),
    text_similarity.ngram_cosines,
    config.seed,
  )
  results = gap.summarize(evaluation, inputs)
  results['parameters'] = sum(a.size for a in jax.tree.leaves(unified.model))
  return results
