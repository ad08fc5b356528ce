"""Trains the image tokenizer on the embedded world and measures it."""

import dataclasses
import functools
import json
import time

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax import bundle
from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import optim as optim_lib
from hermesflow_jax import resumable
from hermesflow_jax import settings
from hermesflow_jax import storage
from hermesflow_jax import tokenizer_training
from hermesflow_jax import train
from hermesflow_jax.data import pipeline
from hermesflow_jax.data import shapes
from hermesflow_jax.data import shapes_tfds
from hermesflow_jax.evaluation import judge
from hermesflow_jax.jobs import common
from hermesflow_jax.models import magvit


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the job.

  Attributes:
    seed: of parameters and order.
    mesh: devices.
    world: the embedded world.
    scenes: crowded scenes to train on.
    sizes: of the tokenizer.
    weights: of the loss.
    quantizer_warmup: steps until every image passes the quantizer.
    optim: the optimizer.
    schedule: batch and intervals.
    evaluated: scenes of each of the three sets it is measured on.
    export: the bundle to write into.
  """

  seed: int
  mesh: common.Mesh = settings.free()
  world: common.World
  scenes: int
  sizes: magvit.MagvitConfig
  weights: tokenizer_training.Weights
  quantizer_warmup: int
  optim: optim_lib.Optim
  schedule: common.Schedule
  evaluated: int
  export: str

  def __post_init__(self):
    settings.require(
      self, {'seed': 0, 'scenes': 1, 'quantizer_warmup': 0, 'evaluated': 1}
    )


def run(config: Settings, workdir: str, console: console_lib.Console) -> dict:
  """Trains, measures and exports; returns the measurements."""
  began = time.perf_counter()
  mesh = config.mesh.make(config.schedule.batch, say=console.say)
  common.claim(workdir, config, console)
  common.check_writable(config.export)
  data_dir = str(storage.path(workdir) / 'data')
  source = shapes_tfds.source(
    data_dir,
    shapes_tfds.config_of(
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
    return tokenizer_training.loss(
      model, pixels, key, batch['mix'], weights=config.weights
    )

  key = jax.random.key(config.seed)
  state = resumable.run(
    lambda: train.init_state(make_model, optim, key, mesh),
    train.make_step(loss, optim, key, mesh),
    None,
    batches,
    schedule.pace(optim.steps),
    mesh=mesh,
    folder=workdir,
    identity=settings.identity(Settings, settings.plain(config)),
    known=functools.partial(settings.identity, Settings),
    label='tokenizer',
    console=console,
  )
  results = measure(state.model, config, mesh, console)
  results['seconds'] = time.perf_counter() - began
  bundle.save_tokenizer(config.export, state.model)
  events.write_atomically(
    str(storage.path(workdir) / 'results.json'),
    json.dumps(results, indent=2) + '\n',
  )
  for name, values in results['sets'].items():
    console.say(
      f'{name}: same objects in {values["same"]:.3f} of '
      f'{values["scenes"]} reconstructions, {values["codes"]} codes used'
    )
  return results


def looks(image: np.ndarray) -> list[tuple]:
  """Returns what the judge sees: sorted (row, column, shape, color, size)."""
  cell = shapes.CELL
  return sorted(
    (
      int(f.y // cell),
      int(f.x // cell),
      str(f.shape),
      str(f.color),
      str(f.size),
    )
    for f in judge.read_image(image)
  )


def measure(model, config: Settings, mesh, console) -> dict:
  """Reconstructs three held-out sets and lets the judge compare.

  `same` is the share of scenes in which the judge sees the same objects at
  the same places in the reconstruction as in the original.
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
        shapes.render(
          shapes.sample_scene(
            split, config.world.seed + 1, i, config.world.jitter
          )
        )
        for i in range(config.evaluated)
      ]
    )
    codes, found = pipeline.mapped(
      reconstruct, images, size, mesh, console.progress(f'judging {split}')
    )
    same = [looks(a) == looks(b) for a, b in zip(images, found)]
    sets[split] = {
      'scenes': len(images),
      'same': float(np.mean(same)),
      'codes': int(len(np.unique(codes))),
      'mean_squared_error': float(
        np.mean((images / 127.5 - found / 127.5) ** 2)
      ),
    }
  parameters = sum(a.size for a in jax.tree.leaves(model))
  return {'parameters': parameters, 'sets': sets}
