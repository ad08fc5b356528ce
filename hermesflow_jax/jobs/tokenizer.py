"""Trains the image tokenizer on the embedded world, then evaluates it."""

import dataclasses
import functools
import time

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.data import pipeline
from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import mesh_config
from hermesflow_jax.jobs.setup import training_schedule
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import object_detection
from hermesflow_jax.shapes import scene_dataset
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
    evaluated: scenes per evaluation set.
    export: model bundle to write into.
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

  def __post_init__(self):
    settings.check(self)


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
  workdir_claim.check_writable(config.export)
  workdir_claim.claim_workdir(workdir, config, console)
  data_dir = str(storage.path(workdir) / 'data')
  source = scene_dataset.data_source(
    data_dir,
    scene_dataset.dataset_config(
      'train',
      config.world.seed,
      config.scenes,
      config.world.jitter,
      crowded=True,
    ),
  )
  optim, schedule = config.optim, config.schedule

  def make_model(key):
    return magvit.Magvit(config.sizes, nnx.Rngs(key))

  def batches(start):
    images = pipeline.batches(
      source,
      lambda record, rng: record['image'],
      seed=config.seed,
      batch=schedule.batch,
      start=start,
      mesh=mesh,
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
    make_state=lambda: train_step.init_state(make_model, optim, key, mesh),
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
  results = measure_reconstruction(state.model, config, mesh, console)
  results['seconds'] = time.perf_counter() - began
  model_bundle.save_tokenizer(config.export, state.model)
  job_results.write_json(storage.path(workdir) / 'results.json', results)
  for name, values in results['sets'].items():
    console.say(
      f'{name}: same objects in {values["same"]:.3f} of '
      f'{values["scenes"]} reconstructions, {values["codes"]} codes used'
    )
  return results


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

  @jax.jit
  def reconstruct(images):
    pixels = images.astype(jnp.float32) / 127.5 - 1.0
    codes = model.codes(model.encode(pixels))
    pixels = (model.decode(codes) + 1.0) * 127.5
    return codes, jnp.rint(jnp.clip(pixels, 0, 255)).astype(jnp.uint8)

  size = 64 * mesh.shape['data']
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
    codes, reconstructed = batching.map_batches(
      reconstruct, images, size, mesh, console.progress(f'judging {split}')
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
