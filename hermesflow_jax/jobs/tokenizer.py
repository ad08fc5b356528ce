"""Trains the image tokenizer on the embedded world or on own images."""

from __future__ import annotations

import dataclasses
import functools
import time
import typing

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import initial_model
  from hermesflow_jax.checkpoints import model_bundle
  from hermesflow_jax.data import image_folder
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.data import picture_list
  from hermesflow_jax.data import pipeline
  from hermesflow_jax.data import record_files
  from hermesflow_jax.evaluation import reconstruction
  from hermesflow_jax.jobs.setup import job_results
  from hermesflow_jax.jobs.setup import mesh_config
  from hermesflow_jax.jobs.setup import training_schedule
  from hermesflow_jax.models import magvit
  from hermesflow_jax.models import magvit_config
  from hermesflow_jax.shapes import drawing
  from hermesflow_jax.shapes import object_detection
  from hermesflow_jax.shapes import scene_records
  from hermesflow_jax.shapes import scene_sampler
  from hermesflow_jax.shapes import shape_world
  from hermesflow_jax.training import adamw
  from hermesflow_jax.training import resume
  from hermesflow_jax.training import tokenizer_loss
  from hermesflow_jax.training import train_step
  from hermesflow_jax.training import training_loop


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    seed: random seed for parameters and batch order.
    mesh: device mesh.
    world: embedded world.
    scenes: crowded scenes to train on.
    sizes: tokenizer sizes.
    weights: loss weights.
    quantizer_warmup: steps until every image passes the quantizer.
    optim: optimizer.
    schedule: batch size, and steps between logs and checkpoints.
    evaluated: scenes or images per evaluation set.
    export: model bundle to write into.
    images: images to train on in the place of scenes: files, folders and
      patterns; () for scenes.
    files: a data set whose images are trained on; None for none.
    pixels: side of these images.
    init_from: tokenizer to train further, a MAGVIT-v2 that
      `conversions.convert` wrote or the folder of a model or run; its sizes
      replace `sizes`. '' for a new tokenizer.
    threads: threads that read images.
    on_error: 'raise', or 'skip' to leave out images that cannot be read.
  """

  seed: settings.NonNegativeInt
  mesh: mesh_config.MeshConfig = settings.may_change_on_resume()
  world: shape_world.World
  scenes: settings.PositiveInt
  sizes: magvit_config.MagvitConfig
  weights: tokenizer_loss.LossWeights
  quantizer_warmup: settings.NonNegativeInt
  optim: adamw.AdamWConfig
  schedule: training_schedule.TrainingSchedule
  evaluated: settings.PositiveInt
  export: str = settings.may_change_on_resume()
  images: tuple[str, ...] = ()
  files: record_files.Source | None = None
  pixels: settings.PositiveInt = 64
  init_from: str = settings.path_of_content('base', default='')
  threads: settings.PositiveInt = settings.may_change_on_resume(default=1)
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )

  def __post_init__(self):
    settings.check(self)
    if self.images and self.files:
      raise ValueError(
        f'images must be () with files, got {self.images}; give one of both'
      )

  @property
  def own(self) -> bool:
    """Whether the images are those of a user."""
    return bool(self.images or self.files)


@workdir_claim.releases_workdir
def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Trains, evaluates and exports the tokenizer.

  Writes the tokenizer into the bundle `config.export`, then `results.json`.

  Returns:
    Content written to `results.json`: parameters, scores by evaluation set,
    seconds.

  Raises:
    ValueError: a setting or a folder cannot be used.
  """
  began = time.perf_counter()
  mesh = config.mesh.make(config.schedule.batch, say=console.say)
  initial, identity, contents = None, {}, {}
  if config.init_from:
    folder = initial_model.open(_located(config.init_from))
    initial = folder.load_tokenizer(mesh)
    identity['base'] = dict(folder.tokenizer_hashes())
  reduction = (initial.config if initial else config.sizes).reduction
  if config.own and config.pixels % reduction:
    raise ValueError(
      f'pixels must be a multiple of {reduction}, got {config.pixels}'
    )
  held_out = None
  if config.own:
    paths = picture_list.list_paths(
      config.images, config.files, console.say, config.on_error
    )
    source, held_out = picture_list.split(
      paths, config.pixels, config.evaluated
    )
    contents['image_files'] = lambda: image_folder.content_hash(paths)
    console.say(f'{len(source)} images to learn from, {len(held_out)} held out')
  workdir_claim.check_writable(config.export)
  workdir_claim.claim_workdir(
    workdir, config, console, contents=contents, **identity
  )
  if not config.own:
    source = scene_records.crowded_scenes(
      str(storage.path(workdir) / 'data'), config.world, config.scenes
    )
  optim, schedule = config.optim, config.schedule

  def make_model(key):
    from flax import nnx

    return magvit.Magvit(config.sizes, nnx.Rngs(key))

  def make_state():
    if initial is not None:
      return train_step.state_from_model(initial, optim, mesh)
    return train_step.init_state(make_model, optim, key, mesh)

  def batches(start):
    images = pipeline.batches(
      source,
      lambda record, rng: record['image'],
      seed=config.seed,
      batch=schedule.batch,
      start=start,
      mesh=mesh,
      threads=config.threads,
    )
    for step, image in enumerate(images, start):
      mix = min(1.0, (step + 1) / max(1, config.quantizer_warmup))
      yield {'image': image, 'mix': np.float32(mix)}

  def loss(model, constants, batch, key):
    del constants
    pixels = batch['image'].astype(jnp.float32) / 127.5 - 1.0
    return tokenizer_loss.loss(
      model, pixels, key, batch['mix'], weights=config.weights
    )

  key = jax.random.key(config.seed)
  training_run = training_loop.TrainingRun(
    step=train_step.make_step(loss, optim, key, mesh),
    make_state=make_state,
    constants=None,
    batches=batches,
    config=schedule.pace(optim.steps),
    mesh=mesh,
    folder=workdir,
    identity=identities.identity_of(Settings, settings.to_json_types(config)),
    comparable=functools.partial(identities.identity_of, Settings),
    label='tokenizer',
    console=console,
  )
  state = resume.run_resumable(training_run)
  root = storage.path(workdir)
  if held_out is None:
    results = measure_reconstruction(state.model, config, mesh, console)
  else:
    results = reconstruction.measure_pictures(
      state.model, held_out, root, mesh, console.progress('measuring')
    )
  results['seconds'] = time.perf_counter() - began
  model_bundle.save_tokenizer(config.export, state.model)
  job_results.write_json(root / 'results.json', results)
  if held_out is not None:
    values = results['sets']['held_out']
    console.say(
      f'{values["images"]} held-out images: {values["psnr"]:.1f} dB, '
      f'{values["codes"]} codes used; see {root / "reconstructions.png"}'
    )
    return results
  for name, values in results['sets'].items():
    console.say(
      f'{name}: same objects in {values["same"]:.3f} of '
      f'{values["scenes"]} reconstructions, {values["codes"]} codes used'
    )
  return results


def _located(name: str) -> str:
  """Returns the folder that `init_from` names."""
  if name.startswith('assets:'):
    name = str(initial_model.ASSETS / name.removeprefix('assets:'))
  initial_model.check_exists([name], '')
  return name


def read_objects(image: np.ndarray) -> list[tuple]:
  """Returns the objects that the judge reads from an image.

  Args:
    image: uint8[H, W, 3].

  Returns:
    Sorted (row, column, shape, color, size); row and column count cells.
  """
  cell = shape_world.CELL
  return sorted(
    (
      int(f.y // cell),
      int(f.x // cell),
      str(f.shape),
      str(f.color),
      str(f.size),
    )
    for f in object_detection.read_image(image)
  )


def measure_reconstruction(model, config: Settings, mesh, console) -> dict:
  """Compares reconstructed scenes from three held-out sets with the originals.

  Args:
    model: Magvit tokenizer.
    config: job settings.
    mesh: device mesh.
    console: prints progress.

  Returns:
    Parameter count, and scores by set. `same` is the fraction of scenes whose
    reconstruction shows the same objects in the same cells.
  """
  sets = {}
  for split in ('preference', 'eval', 'final'):
    images = np.stack(
      [
        drawing.render(
          scene_sampler.sample_scene(
            split, config.world.seed + 1, i, config.world.jitter
          )
        )
        for i in range(config.evaluated)
      ]
    )
    codes, reconstructed = reconstruction.reconstruct(
      model, images, mesh, console.progress(f'judging {split}')
    )
    same = [
      read_objects(a) == read_objects(b) for a, b in zip(images, reconstructed)
    ]
    sets[split] = {
      'scenes': len(images),
      'same': float(np.mean(same)),
      'codes': len(np.unique(codes)),
      'mean_squared_error': float(
        np.mean((images / 127.5 - reconstructed / 127.5) ** 2)
      ),
    }
  parameters = sum(a.size for a in jax.tree.leaves(model))
  return {'parameters': parameters, 'sets': sets}
