"""Programs of fine-tuning with abstract arrays as arguments.

No weights are needed; see `programs`. All rows have the longest texts.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.models import magvit
from hermesflow_jax.models import showo
from hermesflow_jax.performance.pods import programs
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import fine_tuning
from hermesflow_jax.training import image_codes
from hermesflow_jax.training import train_step

P = jax.sharding.PartitionSpec


def training_step(
  model: showo.ShowO,
  sizes: model_folder.Sizes,
  config: fine_tuning.FineTuningConfig,
  mesh: jax.sharding.Mesh,
) -> verdicts.Program:
  """Returns the training step.

  Args:
    model: abstract parameters.
    sizes: model, row and image sizes.
    config: optimizer and batch sizes.
    mesh: device mesh.
  """
  model = programs.abstract_arrays(model, sharding.shardings(model, mesh))
  image_tokens = model.config.image_tokens
  state = jax.eval_shape(
    lambda model: train_step.TrainState(
      jnp.zeros((), jnp.int32), model, config.optim.make().init(model)
    ),
    model,
  )
  state = programs.abstract_arrays(state, sharding.shardings(state, mesh))
  step = fine_tuning.make_step(config, sizes.vocab, image_tokens, mesh)
  program, arguments = step.program_and_arguments(state, None)
  batch = longest_rows(sizes, config)
  return verdicts.Program(
    'train step',
    program,
    (*arguments, programs.rows_sharding(batch, mesh)),
    {'parameters': model, 'optimizer': state.opt_state},
    1,
    # Only codes fill several chunks; every chunk counts, also without labels.
    chunked_log_likelihood.chunk_count(image_tokens + 2, config.label_rows),
    ('rows', sum(dataclasses.asdict(config.batches).values())),
  )


def encoder(
  tokenizer: magvit.Magvit,
  sizes: model_folder.Sizes,
  config: fine_tuning.FineTuningConfig,
  chunk: int,
  mesh: jax.sharding.Mesh,
) -> verdicts.Program:
  """Returns the program that encodes the images of t2i rows.

  Args:
    tokenizer: abstract parameters.
    sizes: model, row and image sizes.
    config: batch sizes.
    chunk: images that a device encodes at once, at most.
    mesh: device mesh.
  """
  side = sizes.grid[0] * sizes.tokenizer.reduction
  count = config.batches.t2i
  pixels = jax.ShapeDtypeStruct((count, side, side, 3), jnp.uint8)
  rows = longest_rows(sizes, config)['t2i']
  tokenizer = programs.abstract_arrays(
    tokenizer, jax.tree.map(lambda _: sharding.replicated(mesh), tokenizer)
  )
  return verdicts.Program(
    'encode images',
    image_codes.encoding_program(sizes.vocab, mesh, chunk),
    (tokenizer, *programs.rows_sharding((rows, pixels), mesh)),
    {'tokenizer': tokenizer},
    1,
    1,
    ('images', count),
  )


def longest_rows(
  sizes: model_folder.Sizes, config: fine_tuning.FineTuningConfig
) -> dict[str, token_rows.Rows]:
  """Returns a batch of rows without pads, as numpy arrays.

  Args:
    sizes: row and image sizes.
    config: batch sizes.
  """
  vocab, lengths = sizes.vocab, sizes.lengths
  codes = np.zeros((1, sizes.grid[0] * sizes.grid[1]), np.int32)
  text = [1] * lengths.mmu
  rows = {
    't2i': text_to_image.t2i_rows(vocab, [text], codes, lengths.max_text),
    'mmu': image_to_text.mmu_rows(
      vocab, codes, [[1] * 16], [text], lengths.mmu, sot=False
    ),
    'lm': token_rows.lm_rows(vocab, [text], lengths.lm),
  }
  return {
    task: batching.stack([jax.tree.map(lambda a: a[0], rows[task])] * count)
    for task, count in dataclasses.asdict(config.batches).items()
  }
