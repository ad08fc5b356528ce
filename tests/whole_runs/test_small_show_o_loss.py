"""Loss of fine-tuning on the small Show-o, on 1 and 8 devices."""

import contextlib
import dataclasses
import functools

import jax
import numpy as np
import small_walk

import configs.pretrain
from hermesflow_jax.jobs import fine_tune
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.training import image_codes
from hermesflow_jax.training import task_loss
from hermesflow_jax.training import task_rows

ROWS = 4


def batch_of(unified, config, folder):
  """Returns rows of each task with random codes in the place of images."""
  rng = np.random.default_rng(0)
  pixels = unified.grid[0] * unified.tokenizer.reduction
  image_tokens = unified.grid[0] * unified.grid[1]
  transforms = task_rows.make_transforms(
    unified.vocab,
    unified.text,
    unified.lengths,
    image_tokens,
    pixels,
    config.rows,
  )
  batch = {}
  for task, transform in transforms.items():
    examples = [
      {
        'caption': record.caption,
        'path': folder / record.file,
        'on_error': 'raise',
      }
      for record in small_walk.RECORDS['inputs']
    ]
    rows = [transform(example, rng)['rows'] for example in examples]
    rows = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    if task != 'lm':
      codes = rng.integers(0, 8_192, (ROWS, image_tokens)).astype(np.int32)
      rows = image_codes.put_codes(unified.vocab, rows, codes)
    batch[task] = rows
  return task_loss.prepare_batch(
    batch,
    jax.random.key(0),
    vocab=unified.vocab,
    image_tokens=image_tokens,
    schedule=mask_schedules.parse_schedule(config.mask_schedule),
  )


def test_the_loss_of_a_mixture_is_the_same_on_8_devices(converted):
  values = configs.pretrain.get_config(f'small_{converted.pixels}').to_dict()
  del values['job']
  config = settings.build(fine_tune.Settings, values)
  losses = {}
  for devices, (data, model) in {1: (1, 1), 8: (4, 2)}.items():
    mesh = sharding.mesh_from_devices(jax.devices()[:devices], data, model)
    with contextlib.chdir(converted.folder):
      parts = job_model.load_parts(config, converted.base, mesh)
      unified = job_model.place_on_mesh(config, parts, mesh, terminal.silent())
    assert unified.model.config.decoder.dtype == 'bfloat16'
    batch = jax.device_get(
      batch_of(unified, config, converted.folder / 'small/data/images')
    )
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('data'))
    loss = functools.partial(
      task_loss.loss,
      weights=tuple(dataclasses.asdict(config.weights).items()),
      image_tokens=converted.codes,
      chunk_size=config.label_rows,
    )
    with sharding.use_mesh(mesh):
      total, metrics = jax.jit(loss)(
        unified.model, None, jax.device_put(batch, rows)
      )
    losses[devices] = {'total': float(total)} | jax.tree.map(float, metrics)
  for name, value in losses[1].items():
    # bfloat16 has 8 bits; the mean over hundreds of labels has more.
    np.testing.assert_allclose(losses[8][name], value, rtol=2**-8)
    assert value > 1
