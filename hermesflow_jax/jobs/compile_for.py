"""Compiles a run's programs for a TPU slice that is not there.

  python main.py --config=configs/pair_dpo.py:show_o_512 --compile_for=v5e:16x16

wants a CPU and `pip install -e '.[tpu]'`. It says what each chip keeps,
computes and sends, and the least time of each. The memory's is that of reading
what the program was given, as often as it must.
"""

from collections.abc import Callable
import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
import time

import jax
from jax.experimental import mesh_utils
from jax.experimental import topologies
import jax.numpy as jnp
import numpy as np

from hermesflow_jax import alignment
from hermesflow_jax import console as console_lib
from hermesflow_jax import cost
from hermesflow_jax import events
from hermesflow_jax import inference
from hermesflow_jax import learners
from hermesflow_jax import likelihood
from hermesflow_jax import masking
from hermesflow_jax import packing
from hermesflow_jax import prompting
from hermesflow_jax import sampling
from hermesflow_jax import serving
from hermesflow_jax import sharding
from hermesflow_jax import storage
from hermesflow_jax import train
from hermesflow_jax.data import pipeline
from hermesflow_jax.jobs import common
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import start
from hermesflow_jax.models import attention
from hermesflow_jax.pods import chips
from hermesflow_jax.pods import hlo

P = jax.sharding.PartitionSpec
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Program:
  """Something to compile.

  Attributes:
    name: for people.
    call: of abstract arguments.
    arguments: jax.ShapeDtypeStructs with shardings, and small numpy arrays.
    parts: of what the arguments hold on a chip, by name.
    reads: how often a call reads each of these from memory, at least.
    trips: turns of each loop that does not say how often it turns.
    per: what one call makes, and how much of it.
  """

  name: str
  call: Callable
  arguments: tuple
  parts: dict[str, object]
  reads: int
  trips: int
  per: tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What one chip wants for a call of a program.

  Attributes:
    name: of the program.
    per: see `Program`.
    fits: whether it compiled within the chip's memory.
    parts: bytes of the arguments, by name.
    temporary: bytes beside these.
    peak: bytes in all.
    flops: executed.
    memory: bytes of the parts, as often as they are read.
    network: bytes sent by each collective; None where that cannot be read.
    seconds: the least time by what bounds it: 'compute', 'memory', 'network'.
    compiling: seconds.
    fault: the compiler's, if it does not fit.
  """

  name: str
  per: tuple[str, int]
  fits: bool
  parts: dict[str, float]
  temporary: float = 0.0
  peak: float = 0.0
  flops: float = 0.0
  memory: float = 0.0
  network: dict[str, float] | None = None
  seconds: dict[str, float] = dataclasses.field(default_factory=dict)
  compiling: float = 0.0
  fault: str = ''

  @property
  def bound(self) -> str:
    """What takes longest."""
    return max(self.seconds, key=self.seconds.get) if self.seconds else ''


def mesh_of(where: chips.Slice, data: int, model: int) -> jax.sharding.Mesh:
  """Returns a mesh over the chips of a slice that is not there.

  Raises:
    ValueError: there is no compiler for it, or the mesh does not fit it.
  """
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault(
      'TPU_ACCELERATOR_TYPE', f'{where.chip.accelerator}-{where.count}'
  )
  if data == -1 and model > 0 and where.count % model == 0:
    data = where.count // model
  if data * model != where.count:
    raise ValueError(
        f'mesh data={data} model={model} does not fit {where.count} chips'
    )
  try:
    found = topologies.get_topology_desc(
        platform='tpu', topology_name=where.name,
        **_hosts(where),
    )
    devices = mesh_utils.create_device_mesh(
        (data, model), found.devices, allow_split_physical_axes=True
    )
  except Exception as error:
    hint = ''
    if importlib.util.find_spec('libtpu') is None:
      hint = " (this wants `pip install -e '.[tpu]'`)"
    raise ValueError(
        f'{where.name}: {str(error).splitlines()[0]}{hint}'
    ) from error
  return jax.sharding.Mesh(
      devices, ('data', 'model'),
      axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def _hosts(where):
  """What says that a small slice is of one host."""
  if where.count > 8:
    return {}
  bounds = (*where.shape, 1, 1)[:3]
  return {'chips_per_host_bounds': bounds, 'num_slices': 1}


def run(
    config: pair_dpo.Settings, workdir: str, topology: str,
    console: console_lib.Console,
) -> list[Verdict]:
  """Compiles the step and both samplers; prints and returns the verdicts."""
  where = chips.parse(topology)
  if config.sizes is None:
    raise ValueError(
        '--compile_for wants a config that says its sizes, e.g. '
        'configs/pair_dpo.py:show_o_512'
    )
  mesh = mesh_of(where, config.mesh.data, config.mesh.model)
  parts = config.play.optim.accumulate
  if config.play.batch % (mesh.shape['data'] * parts):
    raise ValueError(
        f'batch {config.play.batch} does not split over data='
        f'{mesh.shape["data"]} in {parts} parts: give another '
        '--config.mesh.data and model, --config.play.batch or '
        '--config.play.optim.accumulate'
    )
  common.check_writable(workdir)
  config = on_tpu(config)
  shape = dict(mesh.shape)
  console.say(f'{where.name}, mesh data={shape["data"]} model={shape["model"]}')
  verdicts = []
  for make in (train_step, image_sampler, text_sampler):
    verdict = judged(make(config, mesh), where, mesh)
    console.say(line(verdict, where))
    verdicts.append(verdict)
  # What is compared in one table differs in the slice and the mesh alone.
  folder = storage.path(workdir) / _digest(config)
  name = f'{where.name.replace(":", "_")}_{shape["data"]}x{shape["model"]}.json'
  events.write_atomically(
      folder / name,
      json.dumps({
          'topology': where.name, 'mesh': shape, 'jax': jax.__version__,
          'attention': config.sizes.decoder.attention,
          'programs': [dataclasses.asdict(v) | {'bound': v.bound}
                       for v in verdicts],
          'config': json.loads(
              json.dumps(dataclasses.asdict(config), default=str)
          ),
      }, indent=1) + '\n',
  )
  found = [
      json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))
  ]
  events.write_atomically(folder / 'table.md', table(found) + '\n')
  console.say(f'table: {folder / "table.md"}')
  return verdicts


def _digest(config):
  """Eight letters that say what was compiled, but not for which mesh."""
  said = dataclasses.asdict(config) | {'mesh': None}
  text = json.dumps(said, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:8]


def on_tpu(config: pair_dpo.Settings) -> pair_dpo.Settings:
  """Returns the settings with the attention that 'auto' means on a TPU."""
  decoder = config.sizes.decoder
  name = attention.backend_of(decoder.attention, 'tpu')
  decoder = dataclasses.replace(decoder, attention=name)
  sizes = dataclasses.replace(config.sizes, decoder=decoder)
  return dataclasses.replace(config, sizes=sizes)


def table(found: list[dict]) -> str:
  """Returns all that was compiled into a folder as a Markdown table."""
  lines = [
      '| slice | mesh | program | GiB a chip | of | TFLOP a chip | GiB sent | '
      'least ms: compute | memory | network | bound by | at most, of the slice |',
      '|' + '---|' * 12,
  ]
  for each in found:
    memory = chips.parse(each['topology']).chip.memory / GIB
    mesh = 'x'.join(str(size) for size in each['mesh'].values())
    for p in each['programs']:
      head = [each['topology'], mesh, p['name']]
      if not p['fits']:
        lines.append('| ' + ' | '.join([
            *head, f'more than {memory:.1f}', f'{memory:.1f}', *[''] * 5,
            'does not fit', '']) + ' |')
        continue
      sent = p['network']
      least = max(p['seconds'].values())
      what, many = p['per']
      lines.append('| ' + ' | '.join([
          *head, f'{p["peak"] / GIB:.1f}', f'{memory:.1f}',
          f'{p["flops"] / 1e12:.1f}',
          '' if sent is None else f'{sum(sent.values()) / GIB:.2f}',
          *(f'{p["seconds"][kind] * 1e3:.1f}' if kind in p['seconds'] else ''
            for kind in ('compute', 'memory', 'network')),
          p['bound'], f'{many / least:.0f} {what}/s',
      ]) + ' |')
  return '\n'.join(lines)


def judged(program: Program, where: chips.Slice, mesh) -> Verdict:
  """Compiles a program and reads what it wants."""
  parts = {name: per_chip(tree) for name, tree in program.parts.items()}
  began = time.perf_counter()
  try:
    with sharding.known(mesh):
      compiled = program.call.lower(*program.arguments).compile()
  except jax.errors.JaxRuntimeError as error:
    if 'Ran out of memory' not in str(error) and 'Hbm' not in str(error):
      raise
    return Verdict(
        program.name, program.per, False, parts,
        compiling=time.perf_counter() - began,
        fault=str(error).splitlines()[0][:300],
    )
  took = time.perf_counter() - began
  sizes = compiled.memory_analysis()
  try:
    network = hlo.traffic(
        compiled.as_text(), where.count, program.trips
    ).network
  except jax.errors.JaxRuntimeError:
    # This jax cannot read what a newer libtpu wrote.
    network = None
  with sharding.known(mesh):
    work = cost.of(program.call, *program.arguments, trips=program.trips)
  flops = work.flops / where.count
  memory = sum(parts.values()) * program.reads
  chip = where.chip
  seconds = {
      'compute': flops / chip.flops, 'memory': memory / chip.bandwidth,
  }
  if network is not None:
    seconds['network'] = sum(network.values()) / chip.network
  return Verdict(
      program.name, program.per, True, parts,
      temporary=sizes.temp_size_in_bytes,
      peak=sizes.temp_size_in_bytes + sizes.argument_size_in_bytes
           + sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
      flops=flops, memory=memory, network=network, seconds=seconds,
      compiling=took,
  )


def per_chip(tree) -> float:
  """Returns the bytes of arrays on the chip that has most of them."""
  return float(sum(
      np.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize
      for a in jax.tree.leaves(tree)
  ))


def line(verdict: Verdict, where: chips.Slice) -> str:
  """Returns a verdict as a sentence."""
  parts = ', '.join(
      f'{name} {size / GIB:.2f}' for name, size in verdict.parts.items()
  )
  if not verdict.fits:
    return f'{verdict.name}: does not fit ({parts} GiB): {verdict.fault}'
  if verdict.network is None:
    sent = 'not readable with this jax'
  else:
    sent = ', '.join(
        f'{kind} {size / GIB:.2f}' for kind, size in verdict.network.items()
    ) or 'none'
  times = ', '.join(
      f'{kind} {seconds * 1e3:.1f}' for kind, seconds in verdict.seconds.items()
  )
  return (
      f'{verdict.name}: {verdict.peak / GIB:.2f} of '
      f'{where.chip.memory / GIB:.1f} GiB a chip ({parts}, temporaries '
      f'{verdict.temporary / GIB:.2f}); {verdict.flops / 1e12:.2f} TFLOP, '
      f'sent GiB: {sent}; at least ms: {times}; '
      f'{verdict.bound}-bound; compiled in {verdict.compiling:.0f} s'
  )


def shaped(tree, specs):
  """Returns arrays or shapes as shapes with these shardings."""
  return jax.tree.map(
      lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
      tree, specs,
  )


def by_rows(tree, mesh):
  """Returns arrays or shapes as shapes that are split over `data`."""
  one = jax.sharding.NamedSharding(mesh, P('data'))
  return shaped(tree, jax.tree.map(lambda _: one, tree))


def train_step(config: pair_dpo.Settings, mesh) -> Program:
  """Returns the step of Pair-DPO, of all parameters or of adapters."""
  play, sizes = config.play, config.sizes
  model, _ = start.abstract(sizes)
  model = shaped(model, sharding.shardings(model, mesh))
  image_tokens = model.config.image_tokens
  objective = play.objective
  loss = train.bound(
      alignment.loss, objective=objective, reply=sizes.lengths.reply,
      compat=play.compat, rows=play.label_rows,
  )
  learner, learned = learners.Whole(model), model
  if play.lora.rank:
    learner = learners.Adapters(model, play.lora, play.seed)
    learned = jax.eval_shape(learner.start)
  step = train.make_step(
      learner.loss(loss), play.optim, jax.random.key(0), mesh,
      train.bound(
          alignment.prepare, masks=objective.masks, image_tokens=image_tokens,
          schedule=masking.parse(play.mask_schedule),
      ),
  )
  state = jax.eval_shape(
      lambda learned: train.State(
          jnp.zeros((), jnp.int32), learned, play.optim.make().init(learned)
      ), learned,
  )
  state = shaped(state, sharding.shardings(state, mesh))
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
  batch = batch_of(config, image_tokens)
  program, arguments = step.parts(state, constants)
  # All chunks of labels, those that turn out to have none too.
  labels = packing.labels_of(image_tokens, objective.masks, _fit(sizes))
  return Program(
      'train step', program, (*arguments, by_rows(batch, mesh)), parts, 1,
      likelihood.chunks_of(labels, play.label_rows), ('pairs', play.batch),
  )


def _fit(sizes):
  return packing.Fit(sizes.lengths.max_text + 1, sizes.lengths.reply)


def batch_of(config: pair_dpo.Settings, image_tokens: int):
  """Returns a batch of the longest records, as numpy arrays."""
  sizes, objective = config.sizes, config.play.objective
  vocab, lengths = sizes.vocab, sizes.lengths
  codes = np.zeros((2, image_tokens), np.int32)
  record = packing.record(
      vocab, [1] * lengths.max_text, codes, codes[0], [1] * 16,
      [[1] * lengths.reply] * 2, lengths.max_text, _fit(sizes),
  )
  row = {
      'packed': record, 'gen_valid': np.array(True),
      'und_valid': np.array(True), 'reference_mmu': np.zeros(2, np.float32),
  }
  if objective.fixed_masks:
    row['hidden'] = np.zeros((objective.masks, image_tokens), bool)
    row['reference_t2i'] = np.zeros(2, np.float32)
  return pipeline.stack([row] * config.play.batch)


def served(config: pair_dpo.Settings, mesh):
  """Returns the model as samplers read it, as shapes."""
  model = jax.eval_shape(serving.cast, start.abstract(config.sizes)[0])
  return shaped(model, sharding.shardings(model, mesh, over=('model',)))


def image_sampler(config: pair_dpo.Settings, mesh) -> Program:
  """Returns the sampler of images, a chunk of them on each part of `data`."""
  sizes, sampler = config.sizes, config.play.curation_sampler
  each = config.play.images
  captions = max(1, config.chunk // each) * mesh.shape['data']
  text = prompting.t2i_prefix(
      sizes.vocab, [[1] * sizes.lengths.max_text, []], sizes.lengths.max_text
  )
  words, empty = (jax.tree.map(lambda a, n=n: a[n], text) for n in (0, 1))
  rows = jax.tree.map(lambda a: np.stack([a] * captions), words)
  keys = jax.ShapeDtypeStruct((captions, each, 2), jnp.uint32)
  counts = masking.schedule_counts(
      sampler.steps, sizes.grid[0] * sizes.grid[1],
      masking.parse(sampler.schedule),
  )
  model = served(config, mesh)
  draw = jax.jit(functools.partial(
      inference.draw_images, given=None, empty=empty, counts=counts,
      config=sampler, skipped=0,
  ))
  return Program(
      f'images, {sampler.steps} steps', draw,
      (model, *by_rows((keys, rows), mesh)), {'parameters': model},
      sampler.steps, 1, ('images', captions * each),
  )


def text_sampler(config: pair_dpo.Settings, mesh) -> Program:
  """Returns the sampler of captions, a chunk of replies on each part."""
  sizes, ladder = config.sizes, config.play.captions
  images = max(1, config.chunk // len(ladder)) * mesh.shape['data']
  codes = np.zeros((images, sizes.grid[0] * sizes.grid[1]), np.int32)
  image, prompt, length = prompting.mmu_parts(
      sizes.vocab, codes, [[1] * 16] * images, codes.shape[1] + 20
  )
  # One prompt about each image.
  prompt, length = jax.tree.map(lambda a: a[:, None], (prompt, length))
  keys = jax.ShapeDtypeStruct((images, 1, len(ladder), 2), jnp.uint32)
  rungs = (
      np.array([d.temperature for d in ladder], np.float32),
      np.array([d.top_k for d in ladder], np.int32),
  )
  reply, model = sizes.lengths.reply, served(config, mesh)
  write = jax.jit(functools.partial(
      inference.write_replies, rungs=rungs, max_new=reply,
      most=max(d.top_k for d in ladder),
  ))
  return Program(
      f'captions, {reply} tokens', write,
      (model, *by_rows((keys, image, prompt, length), mesh)), {'parameters': model},
      reply, -(-reply // sampling.STRETCH), ('captions', images * len(ladder)),
  )
