"""Compiles a run's programs for a TPU slice that is not there.

  python main.py --config=configs/pair_dpo.py:show_o_512 --compile_for=v5e:16x16

wants a CPU and `pip install -e '.[tpu]'`. `pods.verdicts` says what the numbers
are.
"""

import dataclasses
import functools
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import mesh_config
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.models import attention
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_loss
from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.training import chunked_log_likelihood
from hermesflow_jax.training import train_step
from hermesflow_jax.training import trainable

P = jax.sharding.PartitionSpec


def run(
  config: pair_dpo.Settings,
  workdir: str,
  topology: str,
  console: terminal.Console,
) -> list[verdicts.Verdict]:
  """Compiles the step and both samplers; prints and returns the verdicts."""
  where = accelerators.parse_slice(topology)
  if config.sizes is None:
    raise ValueError(
      '--compile_for wants a config that says its sizes, e.g. '
      'configs/pair_dpo.py:show_o_512'
    )
  batch, parts = config.play.batch, config.play.optim.accumulate
  # Every host of the slice takes part with all of its chips.
  data, model = config.mesh.sizes(
    where.count,
    batch,
    parts,
    mesh_config.model_divisor(config.sizes.decoder),
    idle=False,
  )
  mesh = verdicts.slice_mesh(where, data, model)
  workdir_claim.check_writable(workdir)
  config = for_tpu(config)
  shape = dict(mesh.shape)
  line = mesh_config.mesh_line(where.count, data, model, batch, parts)
  console.say(f'{where.name}, {line}')
  found = []
  for make in (step_program, image_sampler, text_sampler):
    verdict = verdicts.compile_program(make(config, mesh), where, mesh)
    console.say(verdicts.verdict_line(verdict, where))
    found.append(verdict)
  # What is compared in one table differs in the slice and the mesh alone.
  folder = storage.path(workdir) / _digest(config)
  name = f'{where.name.replace(":", "_")}_{shape["data"]}x{shape["model"]}.json'
  output_files.write_atomically(
    folder / name,
    json.dumps(
      {
        'topology': where.name,
        'mesh': shape,
        'jax': jax.__version__,
        'attention': config.sizes.decoder.attention,
        'wanted': expected_programs(config),
        'programs': [dataclasses.asdict(v) | {'bound': v.bound} for v in found],
        'config': json.loads(
          json.dumps(dataclasses.asdict(config), default=str)
        ),
      },
      indent=1,
    )
    + '\n',
  )
  rows = [
    json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))
  ]
  output_files.write_atomically(
    folder / 'table.md', verdicts.verdict_table(rows) + '\n'
  )
  console.say(f'table: {folder / "table.md"}')
  return found


def expected_programs(config: pair_dpo.Settings) -> dict[str, int]:
  """Returns how many pairs a run learns from and samples it makes, at most."""
  play = config.play
  return {
    'pairs': play.rounds * play.optim.steps * play.batch,
    'images': play.rounds * config.inputs * play.images,
    'captions': play.rounds * config.inputs * len(play.captions),
  }


def _digest(config):
  """Eight letters that say what was compiled, but not for which mesh."""
  said = dataclasses.asdict(config) | {'mesh': None}
  text = json.dumps(said, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def for_tpu(config: pair_dpo.Settings) -> pair_dpo.Settings:
  """Returns the settings with the attention that 'auto' means on a TPU."""
  decoder = config.sizes.decoder
  name = attention.choose_backend(decoder.attention, 'tpu')
  decoder = dataclasses.replace(decoder, attention=name)
  sizes = dataclasses.replace(config.sizes, decoder=decoder)
  return dataclasses.replace(config, sizes=sizes)


def abstract_arrays(tree, specs):
  """Returns arrays or shapes as shapes with these shardings."""
  return jax.tree.map(
    lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), tree, specs
  )


def rows_sharding(tree, mesh):
  """Returns arrays or shapes as shapes that are split over `data`."""
  one = jax.sharding.NamedSharding(mesh, P('data'))
  return abstract_arrays(tree, jax.tree.map(lambda _: one, tree))


def step_program(config: pair_dpo.Settings, mesh) -> verdicts.Program:
  """Returns the step of Pair-DPO, of all parameters or of adapters."""
  play, sizes = config.play, config.sizes
  model, _ = job_model.abstract_model(sizes)
  model = abstract_arrays(model, sharding.shardings(model, mesh))
  image_tokens = model.config.image_tokens
  objective = play.objective
  loss = train_step.hashable_partial(
    pair_loss.loss,
    objective=objective,
    reply=sizes.lengths.reply,
    compat=play.compat,
    chunk_size=play.label_rows,
  )
  learner, learned = trainable.FullModel(model), model
  if play.lora.rank:
    learner = trainable.LoraAdapters(model, play.lora, play.seed)
    learned = jax.eval_shape(learner.start)
  step = train_step.make_step(
    learner.loss(loss),
    play.optim,
    jax.random.key(0),
    mesh,
    train_step.hashable_partial(
      pair_loss.prepare_batch,
      masks=objective.masks,
      image_tokens=image_tokens,
      schedule=mask_schedules.parse_schedule(play.mask_schedule),
    ),
  )
  state = jax.eval_shape(
    lambda learned: train_step.TrainState(
      jnp.zeros((), jnp.int32), learned, play.optim.make().init(learned)
    ),
    learned,
  )
  state = abstract_arrays(state, sharding.shardings(state, mesh))
  reference = model
  if objective.fixed_masks:
    reference = None
  elif play.reference == 'base':
    # The first round's start is the base; later ones keep both.
    reference = jax.tree.map(lambda a: a, model)
  constants = learner.constants(reference)
  parts = {'parameters': model, 'optimizer': state.opt_state}
  if play.lora.rank:
    parts['adapters'] = state.model
  if reference is not None and not (play.lora.rank and reference is model):
    parts['reference'] = reference
  batch = abstract_batch(config, image_tokens)
  program, arguments = step.parts(state, constants)
  # All chunks of labels, those that turn out to have none too.
  labels = packing.next_token_labels(image_tokens, objective.masks, _fit(sizes))
  return verdicts.Program(
    'train step',
    program,
    (*arguments, rows_sharding(batch, mesh)),
    parts,
    1,
    chunked_log_likelihood.chunk_count(labels, play.label_rows),
    ('pairs', play.batch),
  )


def _fit(sizes):
  return packing.PackedLengths(sizes.lengths.max_text + 1, sizes.lengths.reply)


def abstract_batch(config: pair_dpo.Settings, image_tokens: int):
  """Returns a batch of the longest records, as numpy arrays."""
  sizes, objective = config.sizes, config.play.objective
  vocab, lengths = sizes.vocab, sizes.lengths
  codes = np.zeros((2, image_tokens), np.int32)
  record = packing.pack_record(
    vocab,
    [1] * lengths.max_text,
    codes,
    codes[0],
    [1] * 16,
    [[1] * lengths.reply] * 2,
    lengths.max_text,
    _fit(sizes),
  )
  row = {
    'packed': record,
    'gen_valid': np.array(True),
    'und_valid': np.array(True),
    'reference_mmu': np.zeros(2, np.float32),
  }
  if objective.fixed_masks:
    row['masked'] = np.zeros((objective.masks, image_tokens), bool)
    row['reference_t2i'] = np.zeros(2, np.float32)
  return batching.stack([row] * config.play.batch)


def serving_model(config: pair_dpo.Settings, mesh):
  """Returns the model as samplers read it, as shapes."""
  model = jax.eval_shape(
    serving_weights.cast_weights, job_model.abstract_model(config.sizes)[0]
  )
  return abstract_arrays(
    model, sharding.shardings(model, mesh, over=('model',))
  )


def image_sampler(config: pair_dpo.Settings, mesh) -> verdicts.Program:
  """Returns the sampler of images, a chunk of them on each part of `data`."""
  sizes, sampler = config.sizes, config.play.curation_sampler
  each = config.play.images
  captions = max(1, config.chunk // each) * mesh.shape['data']
  text = text_to_image.t2i_prefix(
    sizes.vocab, [[1] * sizes.lengths.max_text, []], sizes.lengths.max_text
  )
  words, empty = (jax.tree.map(lambda a, n=n: a[n], text) for n in (0, 1))
  rows = jax.tree.map(lambda a: np.stack([a] * captions), words)
  keys = jax.ShapeDtypeStruct((captions, each, 2), jnp.uint32)
  counts = mask_schedules.schedule_counts(
    sampler.steps,
    sizes.grid[0] * sizes.grid[1],
    mask_schedules.parse_schedule(sampler.schedule),
  )
  model = serving_model(config, mesh)
  draw = jax.jit(
    functools.partial(
      batched.draw_images,
      given=None,
      empty=empty,
      counts=counts,
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
    ('images', captions * each),
  )


def text_sampler(config: pair_dpo.Settings, mesh) -> verdicts.Program:
  """Returns the sampler of captions, a chunk of replies on each part."""
  sizes, ladder = config.sizes, config.play.captions
  images = max(1, config.chunk // len(ladder)) * mesh.shape['data']
  codes = np.zeros((images, sizes.grid[0] * sizes.grid[1]), np.int32)
  image, prompt, length = image_to_text.mmu_parts(
    sizes.vocab, codes, [[1] * 16] * images, codes.shape[1] + 20
  )
  # One prompt about each image.
  prompt, length = jax.tree.map(lambda a: a[:, None], (prompt, length))
  keys = jax.ShapeDtypeStruct((images, 1, len(ladder), 2), jnp.uint32)
  rungs = (
    np.array([d.temperature for d in ladder], np.float32),
    np.array([d.top_k for d in ladder], np.int32),
  )
  reply, model = sizes.lengths.reply, serving_model(config, mesh)
  write = jax.jit(
    functools.partial(
      batched.write_replies,
      rungs=rungs,
      max_new=reply,
      most=max(d.top_k for d in ladder),
    )
  )
  return verdicts.Program(
    f'captions, {reply} tokens',
    write,
    (model, *rows_sharding((keys, image, prompt, length), mesh)),
    {'parameters': model},
    reply,
    -(-reply // autoregressive.STRETCH),
    ('captions', images * len(ladder)),
  )
