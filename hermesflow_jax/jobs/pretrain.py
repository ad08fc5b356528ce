"""Trains the unified model on the embedded world, from a tokenizer."""

import dataclasses
import functools
import json
import time
import typing

from flax import nnx
import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.jobs.setup import mesh_config
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
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
  """Settings of the job.

  Attributes:
    seed: of parameters and order.
    mesh: devices.
    world: the embedded world.
    scenes: captioned scenes to train on.
    tokenizer: a model or a run that has an image tokenizer, or a converted
      MAGVIT-v2; see `job_model.ModelSettings`.
    init_from: a trained model, the run of one, a bundle or a converted Show-o,
      whose transformer is trained on; '' for a new one.
    decoder: sizes of the transformer.
    lengths: sizes of rows.
    mixture: of the three flows.
    mask_schedule: of the random masks.
    optim: the optimizer.
    stop: the step to stop at, if before `optim.steps`; 0 for the whole run.
    batches: rows of each flow.
    log_every: steps between two lines of metrics.
    save_every: steps between two checkpoints.
    sampler: for the measurement at the end.
    evaluated: held-out scenes of that measurement.
    export: the bundle to write into, beside the trained model `model/` of the
      run.
  """

  seed: settings.NonNegativeInt
  mesh: mesh_config.MeshConfig = settings.not_identity()
  world: shape_world.World
  scenes: settings.PositiveInt
  tokenizer: str
  init_from: str
  decoder: phi.PhiConfig
  lengths: token_rows.Lengths
  mixture: pretraining.TaskMixture
  mask_schedule: str
  optim: adamw.AdamWConfig
  stop: settings.NonNegativeInt
  batches: pretraining.Batches
  log_every: settings.PositiveInt = settings.not_identity()
  save_every: settings.NonNegativeInt = settings.not_identity()
  sampler: maskgit.MaskGITSampler
  evaluated: typing.Annotated[int, settings.at_least(2)]
  export: str

  def __post_init__(self):
    settings.check(self)
    mask_schedules.parse_schedule(self.mask_schedule)


def world_tokenizer() -> text_tokenizer.TextTokenizer:
  """Returns the tokenizer of the embedded world's words."""
  prompt = text_tokenizer.user_turn(text_tokenizer.CAPTION_PROMPT)
  words = prompt.replace(':', ' : ').replace('.', ' . ').lower().split()
  return text_tokenizer.word_level_tokenizer([*caption_questions.WORDS, *words])


def _taken(setting, name, console):
  """Returns the folder of the model that a setting names."""
  path = str(run_folder.newest_model(name))
  if path != str(storage.path(name)):
    console.say(f'{setting} {name}: taking {path}')
  return path


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Trains, measures and exports; returns the measurements."""
  began = time.perf_counter()
  mesh = config.mesh.make(
    config.batches.divisor,
    parts=mesh_config.model_divisor(config.decoder),
    say=console.say,
  )
  tokenizer_path = _taken('tokenizer', config.tokenizer, console)
  tokenizer = initial_model.load_tokenizer(tokenizer_path, mesh)
  base = {}
  if config.init_from:
    first_path = _taken('init_from', config.init_from, console)
    initial_model.read_config(first_path)
    base = {'base': initial_model.weight_hashes(first_path, tokenizer_path)}
  workdir_claim.claim_workdir(workdir, config, console, **base)
  workdir_claim.check_writable(config.export)
  grid = (shape_world.SIZE // tokenizer.reduction,) * 2
  text = world_tokenizer()
  vocab = vocabulary.Vocab(text.size, tokenizer.config.codebook_size, text.eos)
  sizes = showo.ShowOConfig(vocab, config.decoder, grid[0] * grid[1])
  optim = config.optim
  if config.init_from:
    first = initial_model.load_model(first_path, sizes, mesh)

  def make_model(key):
    return showo.ShowO(sizes, rngs=nnx.Rngs(key))

  def unified(model):
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
      unified(None),
    )

  console.say('preparing the world')
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
      return train_step.start_state(first, optim, mesh)
    return train_step.init_state(make_model, optim, key, mesh)

  loss = functools.partial(
    pretraining.loss,
    mixture=config.mixture,
    schedule=mask_schedules.parse_schedule(config.mask_schedule),
    image_tokens=sizes.image_tokens,
    reply=config.lengths.reply,
  )
  key = jax.random.key(config.seed)
  state = resume.run_resumable(
    make_state,
    train_step.make_step(loss, optim, key, mesh),
    None,
    batches,
    training_loop.LoopConfig(
      config.stop or optim.steps, config.log_every, config.save_every
    ),
    mesh=mesh,
    folder=workdir,
    identity=settings.identity(Settings, settings.to_json_types(config)),
    known=functools.partial(settings.identity, Settings),
    label='pretraining',
    console=console,
  )
  model_bundle.save_model(
    config.export, state.model, text, config.lengths, grid
  )
  if config.export != tokenizer_path:
    model_bundle.save_tokenizer(config.export, tokenizer)
  player = unified(state.model)
  written = storage.path(workdir) / 'model'
  # A run that was killed before it wrote its results may have left it.
  checkpoint.remove(written)
  trained_model.save_model(
    str(written),
    dataclasses.replace(
      player, tokenizer=jax.device_put(tokenizer, sharding.replicated(mesh))
    ),
    config.init_from,
    {'steps': int(state.step)},
  )
  inputs = input_set.from_records(records('preference', config.evaluated))
  measured = gap.evaluate(
    player,
    inputs,
    config.sampler,
    pixel_judge.judge_of_codes(player.decode),
    text_similarity.ngram_cosines,
    config.seed,
  )
  results = gap.summarize(measured, inputs)
  results['parameters'] = sum(a.size for a in jax.tree.leaves(state.model))
  results['seconds'] = time.perf_counter() - began
  output_files.write_atomically(
    str(storage.path(workdir) / 'results.json'),
    json.dumps(results, indent=2) + '\n',
  )
  console.say(
    f'understanding {results["understanding"]:.3f}, '
    f'generation {results["generation"]:.3f}, '
    f'gap {results["gap"]:.3f} on {len(inputs)} scenes'
  )
  return results
