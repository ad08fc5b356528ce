"""Predicts memory and least times on TPU slices.

The TPU compiler runs on a CPU (`pip install -e '.[tpu]'`). Its output gives the
memory, FLOPs and network traffic per chip, and so the least time for each. The
least memory time counts how often a program must read its arguments.
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


@dataclasses.dataclass(frozen=True)
class Program:
  """A program to compile.

  Attributes:
    name: name in reports.
    call: jitted function.
    arguments: jax.ShapeDtypeStructs with shardings, and small numpy arrays.
    parts: argument groups by name, e.g. weights and optimizer state.
    reads: how often a call must read the parts from memory.
    trips: iterations per loop whose condition depends on data.
    per: (unit, amount) that a call produces, e.g. ('images', 64).
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
  """The resources that a program call needs on each chip.

  Attributes:
    name: program name.
    per: see `Program`.
    fits: whether the program fits into chip memory.
    parts: argument bytes by name.
    temporary: bytes in temporary arrays.
    peak: most bytes in use.
    flops: executed FLOPs.
    memory: bytes read, which are parts times reads.
    network: bytes sent by collective kind; None if not readable.
    seconds: least seconds by resource: 'compute', 'memory', 'network'.
    compiling: compilation seconds.
    fault: compiler message if the program does not fit.
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
    """The resource with the largest least time."""
    return max(self.seconds, key=self.seconds.get) if self.seconds else ''


def slice_mesh(
  where: accelerators.Slice, data: int, model: int
) -> jax.sharding.Mesh:
  """Returns a mesh over chips that are not attached.

  Args:
    where: slice.
    data: data axis size.
    model: model axis size.

  Raises:
    ValueError: no compiler for the slice is installed, or data times model
      differs from its chip count.
  """
  os.environ.setdefault('TPU_SKIP_MDS_QUERY', '1')
  # Compilation holds no chip, so several processes may load libtpu.
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
    topology = topologies.get_topology_desc(
      platform='tpu', topology_name=where.name, **_hosts(where)
    )
    return sharding.mesh_from_devices(topology.devices, data, model)
  except Exception as error:
    hint = ''
    if importlib.util.find_spec('libtpu') is None:
      hint = " (requires `pip install -e '.[tpu]'`)"
    raise ValueError(
      f'{where.name}: {str(error).splitlines()[0]}{hint}'
    ) from error


def _hosts(where: accelerators.Slice) -> dict:
  """Returns topology options that place a small slice on a single host."""
  if where.count > 8:
    return {}
  bounds = (*where.shape, 1, 1)[:3]
  return {'chips_per_host_bounds': bounds, 'num_slices': 1}


def compile_program(
  program: Program, where: accelerators.Slice, mesh
) -> Verdict:
  """Compiles a program and returns the resources that it needs.

  Args:
    program: program.
    where: slice.
    mesh: from `slice_mesh`.
  """
  parts = {name: bytes_per_chip(tree) for name, tree in program.parts.items()}
  start = time.perf_counter()
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
      compiling=time.perf_counter() - start,
      fault=str(error).splitlines()[0][:300],
    )
  took = time.perf_counter() - start
  sizes = compiled.memory_analysis()
  try:
    network = hlo.network_traffic(
      compiled.as_text(), where.count, program.trips
    ).network
  except jax.errors.JaxRuntimeError:
    # This jax cannot read the output of a newer libtpu.
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
  """Returns the largest bytes per chip that a tree of arrays takes."""
  return float(
    sum(
      np.prod(a.sharding.shard_shape(a.shape)) * a.dtype.itemsize
      for a in jax.tree.leaves(tree)
    )
  )
