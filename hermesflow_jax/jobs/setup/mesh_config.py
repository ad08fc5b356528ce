"""Settings of a job's device mesh."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math

import jax

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding

with lazy_modules.on_first_use():
  from hermesflow_jax.models import phi


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each axis of the mesh.

  The batch is split over `data`, heads and MLP over `model`. With data=-1 and
  model=-1, the default, the job chooses a mesh for any number of devices:

  * A job without a batch (generate, understand, curate) uses all devices as
    `data`.
  * Otherwise `data` must divide the rows (batch / accumulate), and `model` the
    heads and the MLP width, so that no two devices compute the same.
  * Among these meshes, the job takes the mesh with the most devices, then with
    the largest `data`. E.g. 256 devices, batch 32 and 32 heads give data=32,
    model=8; 8 devices and batch 16 give data=8, model=1.
  * Remaining devices stay idle, and the job reports their number: 6 devices
    and batch 16 give data=4, model=1. A run with several processes must use
    all devices: otherwise it stops and names the nearest batches that do.

  Attributes:
    data: devices along `data`; -1 for all devices / `model`.
    model: devices along `model`; -1 for all devices / `data`.
  """

  data: int = -1
  model: int = -1

  def make(
    self,
    batch: int = 0,
    accumulate: int = 1,
    parts: int = 1,
    say: Callable[[str], None] = lambda line: None,
  ) -> jax.sharding.Mesh:
    """Returns the mesh over this run's devices.

    Args:
      batch: global batch size; 0 for a job without a batch.
      accumulate: parts that a batch is computed in, in turn.
      parts: divisor of the model's sizes; see `model_divisor`.
      say: prints the mesh that was chosen for a batch.

    Raises:
      ValueError: the mesh does not fit the devices, or the batch the mesh.
    """
    count = jax.device_count()
    data, model = self.sizes(
      count, batch, accumulate, parts, idle=processes.single_process()
    )
    if batch and self.data == self.model == -1:
      say(mesh_line(count, data, model, batch, accumulate))
    return sharding.make_mesh(data, model, idle=True)

  def sizes(
    self, devices: int, batch: int, accumulate: int, parts: int, idle: bool
  ) -> tuple[int, int]:
    """Returns (data, model) for a number of devices; see the class.

    Args:
      devices: device count.
      batch: see `make`.
      accumulate: see `make`.
      parts: see `make`.
      idle: whether devices may stay idle if data and model are -1.

    Raises:
      ValueError: no mesh fits; the message names values that would.
    """
    if batch % accumulate:
      raise ValueError(
        f'batch must be a multiple of accumulate={accumulate}, got {batch}'
      )
    rows = batch // accumulate
    if self.data == self.model == -1:
      data, model = sharding.best_mesh_shape(devices, rows, parts)
      if data * model < devices and not idle:
        raise ValueError(
          f'batch must split over all {devices} devices with model='
          f'{_listed(_divisors(parts, devices))}, got '
          f'{_rows(batch, accumulate)}: give a batch of '
          f'{_listed(_batches(devices, rows, parts, accumulate))}'
        )
      return data, model
    data, model = self.data, self.model
    if model == -1 and data > 0 and devices % data == 0:
      model = devices // data
    elif data == -1 and model > 0 and devices % model == 0:
      data = devices // model
    fitting = [
      f'data={devices // n} model={n}'
      for n in _divisors(parts, devices)
      if devices % n == 0 and not rows % (devices // n)
    ]
    give = _listed([*fitting[:4], '-1 for both'])
    if data < 1 or model < 1 or data * model != devices:
      raise ValueError(
        f'mesh.data * mesh.model must be the number of devices, {devices}, '
        f'got data={self.data} model={self.model}: give {give}'
      )
    if rows % data:
      raise ValueError(
        f'batch must split over data={data}, got '
        f'{_rows(batch, accumulate)}: give a batch that is a multiple of '
        f'{data * accumulate}, or a mesh of {give}'
      )
    return data, model


def mesh_line(
  devices: int, data: int, model: int, batch: int, accumulate: int
) -> str:
  """Returns the message about a mesh that a job chose.

  E.g. 'mesh: 256 devices as data=32, model=8 (batch 32)'.

  Args:
    devices: device count.
    data: devices along `data`.
    model: devices along `model`.
    batch: global batch size.
    accumulate: parts that a batch is computed in.
  """
  noun = 'device' if devices == 1 else 'devices'
  left = devices - data * model
  rest = f'; {left} of the devices stay idle' if left else ''
  return (
    f'mesh: {devices} {noun} as data={data}, model={model} '
    f'(batch {_rows(batch, accumulate)}){rest}'
  )


def model_divisor(decoder: phi.PhiConfig | None) -> int:
  """Returns the greatest common divisor of a decoder's split sizes.

  `model` splits the heads and the hidden width of the MLP (`sharding.RULES`).
  The vocabulary is not split, and the width is a multiple of the heads.

  Args:
    decoder: decoder sizes; None for a model that `model` does not split.
  """
  return math.gcd(decoder.heads, decoder.mlp) if decoder else 1


def _rows(batch, accumulate):
  return f'{batch} in {accumulate} parts' if accumulate > 1 else f'{batch}'


def _listed(values):
  *most, last = map(str, values)
  return f'{", ".join(most)} or {last}' if most else last


def _divisors(number, most):
  return [n for n in range(1, min(number, most) + 1) if number % n == 0]


def _batches(devices, rows, parts, accumulate):
  """Returns the next smaller and larger batches that use all devices.

  A batch with more rows than devices should split over `data` alone.
  """
  parts = parts if rows < devices else 1

  def fits(rows):
    return math.prod(sharding.best_mesh_shape(devices, rows, parts)) == devices

  below = next((n for n in range(rows - 1, 0, -1) if fits(n)), 0)
  above = next(n for n in range(rows + 1, rows + devices + 1) if fits(n))
  return [n * accumulate for n in (below, above) if n]
