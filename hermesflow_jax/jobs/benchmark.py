"""Times the samplers beside the same work done naively."""

from collections.abc import Sequence
import dataclasses
import json
import platform
import time
import typing

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.models import flop_count
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import choices_workload
from hermesflow_jax.performance.benchmark import images_workload
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import pixels_workload
from hermesflow_jax.performance.benchmark import replies_workload
from hermesflow_jax.performance.benchmark import steps_workload
from hermesflow_jax.performance.benchmark import torch_phi
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import serving_weights
from hermesflow_jax.sequences import vocabulary

PRECISIONS = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}


@dataclasses.dataclass(frozen=True)
class NamedWorkload:
  """A workload by name: one of the kinds.

  Attributes:
    name: in the table.
    images, replies, choices, steps, pixels: one of these.
  """

  name: str
  images: images_workload.ImagesWorkload | None = None
  replies: replies_workload.RepliesWorkload | None = None
  choices: choices_workload.ChoicesWorkload | None = None
  steps: steps_workload.StepsWorkload | None = None
  pixels: pixels_workload.PixelsWorkload | None = None

  def __post_init__(self):
    if len(self._kinds()) != 1:
      raise ValueError(
        f'{self.name}: wanted one of images, replies, choices, steps and pixels'
      )

  def _kinds(self):
    kinds = (self.images, self.replies, self.choices, self.steps, self.pixels)
    return [kind for kind in kinds if kind]

  @property
  def workload(self) -> workload.Workload:
    """The one that is there."""
    return self._kinds()[0]


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the job.

  Attributes:
    vocab, decoder: sizes of the model, which has random weights.
    tokenizer: sizes of the image tokenizer, which has random weights, too;
      None where no workload wants one.
    precisions: 'float32', 'bfloat16'.
    workloads: what is timed; the tokenizer in float32 alone.
    repeats: timed calls, of which the median counts; one more is not timed.
    torch: whether the naive way is timed in PyTorch, too, if it is there.
    seed: of weights and inputs.
  """

  vocab: vocabulary.Vocab
  decoder: phi.PhiConfig
  tokenizer: magvit_config.MagvitConfig | None
  precisions: tuple[typing.Annotated[str, settings.one_of(*PRECISIONS)], ...]
  workloads: tuple[NamedWorkload, ...]
  repeats: settings.PositiveInt
  torch: bool
  seed: settings.NonNegativeInt

  def __post_init__(self):
    settings.check(self)
    if self.tokenizer is None and any(w.pixels for w in self.workloads):
      raise ValueError('there are pixels in workloads, but no tokenizer')


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> list[dict]:
  """Times all workloads; prints and returns a row for each."""
  workdir_claim.check_writable(workdir)
  rows = []
  for precision in config.precisions:
    ceiling = measurement.measured_ceiling(
      PRECISIONS[precision], config.repeats
    )
    console.say(
      f'{precision}: matrix products {ceiling.flops / 1e9:.0f} GFLOP/s, '
      f'copies {ceiling.bytes / 1e9:.1f} GB/s'
    )
    models = random_models(config, PRECISIONS[precision])
    theirs = None
    if config.torch and torch_phi.is_installed():
      theirs = torch_phi.make_model(models.showo.config, precision)
    timed_here = [
      w for w in config.workloads if not w.pixels or precision == 'float32'
    ]
    for named in console.progress(precision)(timed_here):
      row = {'workload': named.name, 'precision': precision}
      row |= time_workload(models, theirs, named, ceiling, config)
      rows.append(row)
      console.say(timing_line(row))
    del models, theirs
  machine = {
    'device': jax.devices()[0].device_kind,
    'devices': jax.device_count(),
    'processor': platform.machine(),
    'python': platform.python_version(),
    'jax': jax.__version__,
  }
  root = storage.path(workdir)
  output_files.write_atomically(
    root / 'results.json',
    json.dumps({'rows': rows, 'machine': machine}, indent=1) + '\n',
  )
  output_files.write_atomically(root / 'table.md', timing_table(rows) + '\n')
  console.say(timing_table(rows))
  console.say(f'table: {root / "table.md"}')
  return rows


def random_models(config: Settings, dtype) -> workload.Models:
  """Returns random models; Show-o computes in a precision and is kept in it."""
  decoder = dataclasses.replace(config.decoder, dtype=dtype)
  sizes = showo.ShowOConfig(config.vocab, decoder)

  @jax.jit
  def make(key):
    model = showo.ShowO(sizes, rngs=nnx.Rngs(key))
    tokenizer = config.tokenizer and magvit.Magvit(
      config.tokenizer, nnx.Rngs(key)
    )
    return model, tokenizer

  model, tokenizer = make(jax.random.key(config.seed))
  # One device: on several, each would do all of the work.
  one = jax.sharding.Mesh(
    np.array(jax.devices()[:1]).reshape(1, 1), ('data', 'model')
  )
  return workload.Models(
    serving_weights.prepare_for_serving(model, one), model, tokenizer
  )


def time_workload(
  models: workload.Models,
  theirs,
  named: NamedWorkload,
  ceiling: measurement.Ceiling,
  config: Settings,
) -> dict:
  """Returns the row of one workload without its name."""
  asked = named.workload

  def rng():
    return np.random.default_rng(config.seed)

  def seconds(work):
    return measurement.measure_times(
      work.call, work.arguments, config.repeats, work.carries
    ).seconds

  ours = asked.ours(models, rng())
  useful = asked.useful(models)
  began = time.perf_counter()
  compiled = ours.call.lower(*ours.arguments).compile()
  row = {'compile_seconds': time.perf_counter() - began}
  executed = flop_count.count_flops(
    ours.call, *ours.arguments, trips=ours.trips
  )
  memory = compiled.memory_analysis()
  # A run of training calls its step as here; it costs the host less.
  call = ours.call if ours.carries else compiled
  took = measurement.measure_times(
    call, ours.arguments, config.repeats, ours.carries
  )
  # A state of training is large: one is there at a time.
  del ours, compiled, call
  naive = asked.naive(models, rng())
  row |= {
    'seconds': took.seconds,
    'dispatch_seconds': took.dispatch,
    'host_seconds': took.host,
    'executed_flops': executed.flops,
    'useful_flops': useful.flops,
    'bytes': executed.bytes,
    'useful_bytes': useful.bytes,
    'of_ceiling': ceiling.seconds(useful) / took.seconds,
    'memory_bytes': memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes,
  }
  row['naive_seconds'] = workload.total_flops(naive, seconds)
  row['naive_part'] = sum(1 / work.scale for work in naive) / len(naive)
  if theirs is not None and named.steps:
    row['torch_seconds'] = torch_phi.step_seconds(
      theirs, asked.naive_rows(models.showo, rng()), config.repeats
    )
  elif theirs is not None and (named.replies or named.choices):
    each = torch_phi.forward_seconds(
      theirs, asked.naive_rows(models.showo, rng()), config.repeats
    )
    row['torch_seconds'] = float(np.mean(each) * asked.calls())
  return row


def timing_line(row: dict) -> str:
  """Returns a row as a sentence."""
  text = (
    f'{row["workload"]}, {row["precision"]}: {row["seconds"]:.2f} s, '
    f'{row["naive_seconds"] / row["seconds"]:.2f} times as fast as naive'
  )
  if 'torch_seconds' in row:
    text += (
      f', {row["torch_seconds"] / row["seconds"]:.1f} times as fast as '
      'naive in PyTorch'
    )
  return text


def timing_table(rows: Sequence[dict]) -> str:
  """Returns all rows as a Markdown table."""
  lines = [
    '| workload | precision | seconds | ms to dispatch (own) | GFLOP useful | '
    'executed | GB moved | of the ceiling | memory GiB | naive JAX | '
    'naive PyTorch |',
    '|' + '---|' * 11,
  ]
  for row in rows:
    torch = row.get('torch_seconds')
    cells = (
      row['workload'],
      row['precision'],
      f'{row["seconds"]:.2f}',
      f'{row["dispatch_seconds"] * 1e3:.1f} ({row["host_seconds"] * 1e3:.1f})',
      f'{row["useful_flops"] / 1e9:.0f}',
      f'{row["executed_flops"] / 1e9:.0f}',
      f'{row["bytes"] / 1e9:.0f}',
      f'{row["of_ceiling"]:.0%}',
      f'{row["memory_bytes"] / 2**30:.2f}',
      f'{row["naive_seconds"] / row["seconds"]:.2f} x',
      f'{torch / row["seconds"]:.1f} x' if torch else '',
    )
    lines.append('| ' + ' | '.join(cells) + ' |')
  return '\n'.join(lines)
