"""What programs want of a slice of TPU chips that is not there.

The TPU's compiler runs on a CPU (`pip install -e '.[tpu]'`). It says what each
chip keeps, computes and sends, and so the least time of each. The memory's is
that of reading what the program was given, as often as it must.
"""

from collections.abc import Callable
import dataclasses
import importlib.util
import os
import time

import jax
from jax.experimental import topologies
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.performance.pods import hlo
from hermesflow_jax.runtime import accelerators
from hermesflow_jax.runtime import sharding

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


def slice_mesh(
  where: accelerators.Slice, data: int, model: int
) -> jax.sharding.Mesh:
  """Returns a mesh over the chips of a slice that is not there.

  Raises:
    ValueError: there is no compiler for it, or the mesh does not fit it.
  """
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  # Nothing here holds a chip, so others may compile beside it.
  os.environ.setdefault('ALLOW_MULTIPLE_LIBTPU_LOAD', '1')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  os.environ.setdefault(
    'TPU_ACCELERATOR_TYPE', f'{where.chip.accelerator}-{where.count}'
  )
  if data * model != where.count:
    raise ValueError(
      f'mesh data={data} model={model} does not fit {where.count} chips'
    )
  try:
    found = topologies.get_topology_desc(
      platform='tpu', topology_name=where.name, **_hosts(where)
    )
    return sharding.mesh_from_devices(found.devices, data, model)
  except Exception as error:
    hint = ''
    if importlib.util.find_spec('libtpu') is None:
      hint = " (this wants `pip install -e '.[tpu]'`)"
    raise ValueError(
      f'{where.name}: {str(error).splitlines()[0]}{hint}'
    ) from error


def _hosts(where):
  """What says that a small slice is of one host."""
  if where.count > 8:
    return {}
  bounds = (*where.shape, 1, 1)[:3]
  return {'chips_per_host_bounds': bounds, 'num_slices': 1}


def compile_program(
  program: Program, where: accelerators.Slice, mesh
) -> Verdict:
  """Compiles a program and reads what it wants."""
  parts = {name: bytes_per_chip(tree) for name, tree in program.parts.items()}
  began = time.perf_counter()
  try:
    with sharding.use_mesh(mesh):
      compiled = program.call.lower(*program.arguments).compile()
  except jax.errors.JaxRuntimeError as error:
    if 'Ran out of memory' not in str(error) and 'Hbm' not in str(error):
      raise
    return Verdict(
      program.name,
      program.per,
      False,
      parts,
      compiling=time.perf_counter() - began,
      fault=str(error).splitlines()[0][:300],
    )
  took = time.perf_counter() - began
  sizes = compiled.memory_analysis()
  try:
    network = hlo.network_traffic(
      compiled.as_text(), where.count, program.trips
    ).network
  except jax.errors.JaxRuntimeError:
    # This jax cannot read what a newer libtpu wrote.
    network = None
  with sharding.use_mesh(mesh):
    work = flop_count.count_flops(
      program.call, *program.arguments, trips=program.trips
    )
  flops = work.flops / where.count
  memory = sum(parts.values()) * program.reads
  chip = where.chip
  seconds = {'compute': flops / chip.flops, 'memory': memory / chip.bandwidth}
  if network is not None:
    seconds['network'] = sum(network.values()) / chip.network
  return Verdict(
    program.name,
    program.per,
    True,
    parts,
    temporary=sizes.temp_size_in_bytes,
    peak=sizes.temp_size_in_bytes
    + sizes.argument_size_in_bytes
    + sizes.output_size_in_bytes
    - sizes.alias_size_in_bytes,
    flops=flops,
    memory=memory,
    network=network,
    seconds=seconds,
    compiling=took,
  )


def bytes_per_chip(tree) -> float:
  """Returns the bytes of arrays on the chip that has most of them."""
  return float(
    sum(
      np.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize
      for a in jax.tree.leaves(tree)
    )
  )


def verdict_line(verdict: Verdict, where: accelerators.Slice) -> str:
  """Returns a verdict as a sentence."""
  parts = ', '.join(
    f'{name} {size / GIB:.2f}' for name, size in verdict.parts.items()
  )
  if not verdict.fits:
    return f'{verdict.name}: does not fit ({parts} GiB): {verdict.fault}'
  if verdict.network is None:
    sent = 'not readable with this jax'
  else:
    sent = (
      ', '.join(
        f'{kind} {size / GIB:.2f}' for kind, size in verdict.network.items()
      )
      or 'none'
    )
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


def verdict_table(found: list[dict]) -> str:
  """Returns all that was compiled into a folder as a Markdown table.

  Args:
    found: what was written of each slice and mesh; `wanted` says how much a
      run makes of what a program makes, by name.
  """
  lines = [
    '| slice | mesh | program | GiB a chip | of | TFLOP a chip | GiB sent | '
    'least ms: compute | memory | network | bound by | '
    'at most, of the slice | a run, at least |',
    '|' + '---|' * 13,
  ]
  for each in found:
    memory = accelerators.parse_slice(each['topology']).chip.memory / GIB
    mesh = 'x'.join(str(size) for size in each['mesh'].values())
    for p in each['programs']:
      head = [each['topology'], mesh, p['name']]
      if not p['fits']:
        lines.append(
          '| '
          + ' | '.join(
            [
              *head,
              f'more than {memory:.1f}',
              f'{memory:.1f}',
              *[''] * 5,
              'does not fit',
              '',
              '',
            ]
          )
          + ' |'
        )
        continue
      sent = p['network']
      least = max(p['seconds'].values())
      what, many = p['per']
      lines.append(
        '| '
        + ' | '.join(
          [
            *head,
            f'{p["peak"] / GIB:.1f}',
            f'{memory:.1f}',
            f'{p["flops"] / 1e12:.1f}',
            '' if sent is None else f'{sum(sent.values()) / GIB:.2f}',
            *(
              f'{p["seconds"][kind] * 1e3:.1f}' if kind in p['seconds'] else ''
              for kind in ('compute', 'memory', 'network')
            ),
            p['bound'],
            f'{many / least:.0f} {what}/s',
            duration_text(each['wanted'][what] / many * least),
          ]
        )
        + ' |'
      )
  return '\n'.join(lines)


def duration_text(seconds: float) -> str:
  """Returns it as people say it, e.g. '22 min', '0.3 min', '11.6 h'."""
  minutes = seconds / 60
  if minutes >= 120:
    return f'{minutes / 60:.1f} h'
  return f'{minutes:.1f} min' if minutes < 10 else f'{minutes:.0f} min'
