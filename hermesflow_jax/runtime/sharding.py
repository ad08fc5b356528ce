"""Where every array lives: one mesh, one table of rules.

Models know no mesh. Parameters and optimizer state are placed by the first
rule whose pattern is found in their path; the residual stream is constrained
once a block; batches are split over `data`.
"""

import collections
from collections.abc import Sequence
import math
import re

import jax
from jax.experimental import mesh_utils
import numpy as np

P = jax.sharding.PartitionSpec

# Stacked layers carry L in front. Kernels are split over both axes, so that
# parameters and optimizer state of the 1.4 B model fit a 16 GB chip. The
# embedding and the head are split over the width, not over the vocabulary:
# 58,498 = 2 * 11 * 2,659 has no divisor that a mesh has.
RULES = (
  (r'embed/embedding', P(None, ('data', 'model'))),
  (r'head/kernel', P(('data', 'model'), None)),
  (r'layers/(q_proj|k_proj|v_proj|fc1)/kernel', P(None, 'data', 'model')),
  (r'layers/(dense|fc2)/kernel', P(None, 'model', 'data')),
  (r'layers/(q_proj|k_proj|v_proj|fc1)/bias', P(None, 'model')),
  (r'', P()),
)


def make_mesh(
  data: int = -1, model: int = 1, idle: bool = False
) -> jax.sharding.Mesh:
  """Returns a mesh ('data', 'model') over the devices.

  Args:
    data: devices along `data`; -1 takes what `model` leaves.
    model: devices along `model`.
    idle: a mesh of fewer devices than there are leaves the last ones idle.

  Raises:
    ValueError: the product is not the number of devices (with `idle`: is
      greater).
  """
  count = jax.device_count()
  if data == -1 and model > 0 and count % model == 0:
    data = count // model
  used = data * model
  if data < 1 or model < 1 or used > count or (used < count and not idle):
    raise ValueError(
      f'mesh data={data} model={model} does not fit {count} device(s)'
    )
  return mesh_from_devices(jax.devices()[:used], data, model)


def mesh_from_devices(
  devices: Sequence, data: int, model: int
) -> jax.sharding.Mesh:
  """Returns the mesh ('data', 'model') of these devices; see `arrange_devices`."""
  return jax.sharding.Mesh(
    arrange_devices(devices, data, model),
    ('data', 'model'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def arrange_devices(devices: Sequence, data: int, model: int) -> np.ndarray:
  """Returns devices as an array [data, model] that `process_rows` can divide.

  The network decides the order where it can. Where a process would get rows of
  a batch that do not follow each other, as on most slices of more than a
  host, rows of devices are sorted by process; where that does not help, so are
  the devices.

  Args:
    devices: data * model devices.
    data, model: see `make_mesh`.
  """
  try:
    grid = mesh_utils.create_device_mesh(
      (data, model), devices, allow_split_physical_axes=True
    )
  except (NotImplementedError, ValueError, AssertionError):
    grid = None  # E.g. some devices of a torus.
  if grid is not None:
    for rows in (grid, sorted(grid, key=_first_process)):
      if _in_a_row(np.array(rows)):
        return np.array(rows)
  ordered = sorted(devices, key=lambda d: (d.process_index, d.id))
  return np.array(ordered).reshape(data, model)


def _first_process(row):
  return min(device.process_index for device in row)


def _in_a_row(grid) -> bool:
  """Whether each process has whole shares of rows that follow each other."""
  rows = collections.defaultdict(set)
  for number, row in enumerate(grid):
    for device in row:
      rows[device.process_index].add(number)
  return all(
    max(mine) - min(mine) + 1 == len(mine) and min(mine) % len(mine) == 0
    for mine in rows.values()
  )


def best_mesh_shape(devices: int, rows: int, parts: int) -> tuple[int, int]:
  """Returns the mesh sizes (data, model) that use most devices.

  Args:
    devices: the number of devices.
    rows: rows of the batch; `data` divides it. 0: any `data` will do.
    parts: what the model's sizes split into; `model` divides it.

  Returns:
    Of all pairs with data * model <= devices the one with the greatest
    product; of equal products the one with the greatest `data`.
  """
  if not rows:
    return devices, 1
  pairs = (
    (data, model)
    for model in range(1, min(devices, parts) + 1)
    if parts % model == 0
    for data in range(1, min(devices // model, rows) + 1)
    if rows % data == 0
  )
  return max(pairs, key=lambda pair: (pair[0] * pair[1], pair[0]))


def path_name(path) -> str:
  """Returns 'decoder/layers/fc1/kernel' for a pytree path of a module."""
  names = [
    str(getattr(k, 'name', getattr(k, 'key', getattr(k, 'idx', k))))
    for k in path
  ]
  return '/'.join(n for n in names if n != 'value')


def partition_spec(
  name: str, shape: tuple[int, ...], mesh, over=('data', 'model')
) -> P:
  """Returns the spec of the first matching rule, without axes that do not fit.

  An axis whose size does not divide the dimension is dropped: small models on
  large meshes are replicated there.
  """
  spec = next(spec for pattern, spec in RULES if re.search(pattern, name))
  fitted = []
  for size, axes in zip(shape, spec):
    axes = (axes,) if isinstance(axes, str) else axes or ()
    axes = tuple(axis for axis in axes if axis in over)
    parts = math.prod(mesh.shape[a] for a in axes)
    fitted.append(axes if axes and size % parts == 0 else None)
  # Compiled functions return specs in this short form; another would compile
  # the next call again.
  while fitted and fitted[-1] is None:
    fitted.pop()
  return P(*fitted)


def shardings(tree, mesh, over=('data', 'model')):
  """Returns the NamedSharding of every leaf.

  Args:
    tree: of arrays or shapes.
    mesh: from `make_mesh`.
    over: the axes that may split a leaf.
  """

  def one(path, leaf):
    spec = partition_spec(path_name(path), leaf.shape, mesh, over)
    return jax.sharding.NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(one, tree)


def replicated(mesh) -> jax.sharding.NamedSharding:
  """Returns the sharding of a whole copy on each device."""
  return jax.sharding.NamedSharding(mesh, P())


def use_mesh(mesh):
  """Returns a context in which what is traced knows its mesh.

  `constrain`, `map_over_data` and kernels that no compiler can split ask for it.
  """
  return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def constrain(x: jax.Array) -> jax.Array:
  """Splits [B, ..., T, D] over `data` when a mesh is set; else returns x."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or 'data' not in mesh.shape or x.ndim < 3:
    return x
  if x.shape[0] % mesh.shape['data']:
    return x
  spec = P('data', *(None,) * (x.ndim - 1))
  return jax.lax.with_sharding_constraint(x, spec)


def map_over_data(function, whole, *rows):
  """Calls a function on the rows that each part of `data` has.

  Args:
    function: (whole, *rows) -> pytree of arrays with the rows in front.
    whole: pytree of arrays that each part has whole; their gradient is added
      up over the parts once.
    *rows: pytrees of arrays [B, ...].

  Returns:
    What the function would return for all rows. Without a mesh, or where the
    rows do not split, it is called once.
  """
  mesh = jax.sharding.get_abstract_mesh()
  size = len(jax.tree.leaves(rows)[0])
  parts = mesh.shape.get('data', 1) if not mesh.empty else 1
  if parts == 1 or size % parts:
    return function(whole, *rows)
  return jax.shard_map(
    function,
    in_specs=(P(), *[P('data')] * len(rows)),
    out_specs=P('data'),
    axis_names={'data'},
    check_vma=False,
  )(whole, *rows)


def process_rows(mesh, size: int) -> tuple[int, int]:
  """Returns (first, after): the rows of a batch that this process's devices want.

  Processes that divide `model` among them want the same.

  Args:
    mesh: from `make_mesh`.
    size: rows of the batch; the mesh's `data` axis divides it.
  """
  split = jax.sharding.NamedSharding(mesh, P('data'))
  parts = {
    index[0].indices(size)[:2]
    for index in split.addressable_devices_indices_map((size,)).values()
  }
  first, after = min(a for a, _ in parts), max(b for _, b in parts)
  if sum(b - a for a, b in parts) != after - first or first % (after - first):
    raise ValueError(
      f'the devices of process {jax.process_index()} have no rows in a row'
    )
  return first, after


def put_batch(batch, mesh, first: int = 0, size: int = 0):
  """Places rows of a batch, split over `data`.

  Args:
    batch: pytree of numpy arrays [N, ...]: the whole batch, or this process's
      `process_rows` of it.
    mesh: from `make_mesh`; its `data` axis must divide the batch.
    first: which row of the batch is their first.
    size: rows of the whole batch; 0 for N.

  Returns:
    The same pytree of global arrays.
  """
  sharding = jax.sharding.NamedSharding(mesh, P('data'))

  def put(rows):
    rows = np.asarray(rows)
    count = size or len(rows)

    def part(index):
      start, stop, _ = index[0].indices(count)
      return rows[start - first : stop - first]

    shape = (count, *rows.shape[1:])
    return jax.make_array_from_callback(shape, sharding, part)

  return jax.tree.map(put, batch)
