"""Self-play programs with abstract arrays as arguments.

No weights are needed: arrays are `jax.ShapeDtypeStruct` with shardings. The
arguments are the largest that a run passes.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.models import showo
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.performance.pods import answer_inputs
from hermesflow_jax.performance.pods import step_inputs
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import train_step
from hermesflow_jax.training import trainable

P = jax.sharding.PartitionSpec


def abstract_arrays(tree, shardings):
  """Returns abstract arrays with shardings.

  Args:
    tree: pytree with arrays or abstract arrays.
    shardings: pytree with the same structure, `jax.sharding.Sharding` leaves.
  """
  return jax.tree.map(
    lambda array, spec: jax.ShapeDtypeStruct(
      array.shape, array.dtype, sharding=spec
    ),
    tree,
    shardings,
  )


def rows_sharding(tree, mesh: jax.sharding.Mesh):
  """Returns abstract arrays whose first axis is split over `data`.

  Args:
    tree: pytree with arrays or abstract arrays.
    mesh: device mesh.
  """
  rows = jax.sharding.NamedSharding(mesh, P('data'))
  return abstract_arrays(tree, jax.tree.map(lambda _: rows, tree))


def pair_dpo_step(
  model: showo.ShowO,
  sizes: model_folder.Sizes,
  config: learning_config.LearningConfig,
  reference: str,
  mesh: jax.sharding.Mesh,
  group: tuple[int, int],
) -> verdicts.Program:
  """Returns the training step of a round, full or with LoRA adapters.

  Args:
    model: abstract parameters.
    sizes: model, row and image sizes.
    config: objective, optimizer, adapters and batch.
    reference: frozen reference model, 'round' or 'base'.
    mesh: device mesh.
    group: images and captions of an input, which method grpo learns from.
  """
  model = abstract_arrays(model, sharding.shardings(model, mesh))
  image_tokens = model.config.image_tokens
  objective = config.objective
  if objective.uses_groups:
    inputs = step_inputs.of_groups(
      sizes, config, image_tokens, reference, *group
    )
  else:
    inputs = step_inputs.of_pairs(sizes, config, image_tokens)
  inputs = answer_inputs.add_answers(
    inputs, sizes, config, image_tokens, mesh.shape['data']
  )
  learner, trained = trainable.FullModel(model), model
  if config.lora.rank:
    learner = trainable.LoraAdapters(model, config.lora, config.seed)
    trained = jax.eval_shape(learner.start)
  step = train_step.make_step(
    learner.loss(inputs.loss),
    config.optim,
    jax.random.key(0),
    mesh,
    inputs.prepare,
    inputs.parts,
  )
  state = jax.eval_shape(
    lambda trained: train_step.TrainState(
      jnp.zeros((), jnp.int32), trained, config.optim.make().init(trained)
    ),
    trained,
  )
  state = abstract_arrays(state, sharding.shardings(state, mesh))
  frozen = model
  without_images = objective.uses_groups and not objective.learns_images
  if objective.fixed_masks or without_images:
    frozen = None
  elif reference == 'base':
    # Round 1 starts from the base model; later rounds keep both in memory.
    frozen = jax.tree.map(lambda a: a, model)
  models = [] if frozen is None else [frozen]
  if objective.uses_groups and models:
    # The ratios are to the model that starts the round.
    frozen = {'old': model} | ({} if frozen is model else {'base': frozen})
    models = frozen.values()
  constants = learner.constants(frozen)
  parts = {'parameters': model, 'optimizer': state.opt_state}
  if config.lora.rank:
    parts['adapters'] = state.model
  # Adapters need no second copy of the model that they are added to.
  others = [m for m in models if not (config.lora.rank and m is model)]
  if others:
    parts['reference'] = others
  program, arguments = step.program_and_arguments(state, constants)
  return verdicts.Program(
    'train step',
    program,
    (*arguments, rows_sharding(inputs.batch, mesh)),
    parts,
    1,
    # Every chunk of labels counts, also a chunk without labels.
    chunked_log_likelihood.chunk_count(inputs.labels, config.label_rows),
    (inputs.unit, config.batch),
  )


def serving_model(model: showo.ShowO, mesh: jax.sharding.Mesh) -> showo.ShowO:
  """Returns the abstract parameters in the form that samplers read.

  Args:
    model: abstract parameters.
    mesh: device mesh.
  """
  model = jax.eval_shape(serving_weights.cast_weights, model)
  return abstract_arrays(
    model, sharding.shardings(model, mesh, over=('model',))
  )


def image_sampler(
  model: showo.ShowO,
  sizes: model_folder.Sizes,
  sampler: maskgit.MaskGITSampler,
  images: int,
  chunk: int,
  mesh: jax.sharding.Mesh,
) -> verdicts.Program:
  """Returns the image sampler for a chunk per `data` shard.

  Args:
    model: abstract parameters.
    sizes: model, row and image sizes.
    sampler: steps, schedule and guidance.
    images: K, candidate images per caption.
    chunk: images that a device samples at once.
    mesh: device mesh.
  """
  captions = max(1, chunk // images) * mesh.shape['data']
  text = text_to_image.t2i_prefix(
    sizes.vocab, [[1] * sizes.lengths.max_text, []], sizes.lengths.max_text
  )
  words, empty = (jax.tree.map(lambda a, n=n: a[n], text) for n in (0, 1))
  rows = jax.tree.map(lambda a: np.stack([a] * captions), words)
  keys = jax.ShapeDtypeStruct((captions, images, 2), jnp.uint32)
  counts = mask_schedules.schedule_counts(
    sampler.steps,
    sizes.grid[0] * sizes.grid[1],
    mask_schedules.parse_schedule(sampler.schedule),
  )
  model = serving_model(model, mesh)
  draw = jax.jit(
    functools.partial(
      batched.draw_images,
      known_codes=None,
      empty=empty,
      counts=tuple(counts.tolist()),
      config=sampler,
      skipped=0,
    )
  )
  return verdicts.Program(
    f'images, {sampler.steps} steps',
    draw,
    (model, *rows_sharding((keys, rows), mesh)),
    {'parameters': model},
    sampler.steps,
    1,
    ('images', captions * images),
  )


def caption_sampler(
  model: showo.ShowO,
  sizes: model_folder.Sizes,
  caption_samplers: Sequence[batched.Decoding],
  chunk: int,
  mesh: jax.sharding.Mesh,
) -> verdicts.Program:
  """Returns the caption sampler for a chunk per `data` shard.

  Args:
    model: abstract parameters.
    sizes: model, row and image sizes.
    caption_samplers: M samplers, each writes a caption per image.
    chunk: captions that a device samples at once.
    mesh: device mesh.
  """
  images = max(1, chunk // len(caption_samplers)) * mesh.shape['data']
  codes = np.zeros((images, sizes.grid[0] * sizes.grid[1]), np.int32)
  image, prompt, length = image_to_text.mmu_parts(
    sizes.vocab, codes, [[1] * 16] * images, codes.shape[1] + 20
  )
  # Each image has one prompt.
  prompt, length = jax.tree.map(lambda a: a[:, None], (prompt, length))
  keys = jax.ShapeDtypeStruct((images, 1, len(caption_samplers), 2), jnp.uint32)
  samplers = (
    np.array([d.temperature for d in caption_samplers], np.float32),
    np.array([d.top_k for d in caption_samplers], np.int32),
  )
  reply, model = sizes.lengths.reply, serving_model(model, mesh)
  write = jax.jit(
    functools.partial(
      batched.write_replies,
      samplers=samplers,
      max_new=reply,
      most=max(d.top_k for d in caption_samplers),
    )
  )
  return verdicts.Program(
    f'captions, {reply} tokens',
    write,
    (model, *rows_sharding((keys, image, prompt, length), mesh)),
    {'parameters': model},
    reply,
    -(-reply // autoregressive.STRETCH),
    ('captions', images * len(caption_samplers)),
  )
