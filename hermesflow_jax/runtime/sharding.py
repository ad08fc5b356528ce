"""Sharding of arrays: a device mesh, and a table of rules.

Models do not know the mesh. The first rule whose pattern matches the path of a
parameter places it and its optimizer state; the residual stream is constrained
in each block; batches are split over `data`.
"""

import collections
from collections.abc import Sequence
import math
import re

import jax
from jax.experimental import mesh_utils
import numpy as np

P = jax.sharding.PartitionSpec

# Arrays of stacked layers have L in front. Kernels are split over both axes,
# so that parameters and optimizer state of the 1.4 B model fit a 16 GB chip.
# The embedding and the head are split over the width, not over the vocabulary:
# no mesh divides 58,498 = 2 * 11 * 2,659.
RULES = (
  (r'embed/embedding', P(None, ('data', 'model'))),
  (r'head/kernel', P(('data', 'model'), None)),
  (r'layers/(q_proj|k_proj|v_proj|fc1)/kernel', P(None, 'data', 'model')),
  (r'layers/(dense|fc2|out_proj)/kernel', P(None, 'model', 'data')),
  (r'layers/(q_proj|k_proj|v_proj|fc1)/bias', P(None, 'model')),
  (r'', P()),
)


def make_mesh(
  data: int = -1, model: int = 1, idle: bool = False
) -> jax.sharding.Mesh:
  """Returns a mesh ('data', 'model') over the devices.

  Args:
    data: devices along `data`; -1 for all devices / `model`.
    model: devices along `model`.
    idle: whether a smaller mesh may leave the last devices idle.

  Raises:
    ValueError: data * model is not the number of devices (with `idle`: is
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
  """Returns the mesh ('data', 'model') over some devices.

  Args:
    devices: data * model devices, in any order; see `arrange_devices`.
    data: devices along `data`.
    model: devices along `model`.
  """
  return jax.sharding.Mesh(
    arrange_devices(devices, data, model),
    ('data', 'model'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def arrange_devices(devices: Sequence, data: int, model: int) -> np.ndarray:
  """Returns devices as an array [data, model] that `process_rows` can divide.

  The order follows the network, if each process then gets consecutive rows of
  a batch. Otherwise, as on most slices with several hosts, the rows of devices
  are sorted by process; if that does not help, the devices are.

  Args:
    devices: data * model devices.
    data: devices along `data`.
    model: devices along `model`.
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
  """Returns whether each process has complete shares of consecutive rows."""
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
    devices: device count.
    rows: rows in the batch, which `data` must divide; 0 for any `data`.
    parts: divisor of the model's sizes, which `model` must divide.

  Returns:
    The pair with data * model <= devices and the greatest product; among equal
    products, the pair with the greatest `data`.
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
  """Returns a key path as a name, e.g. 'decoder/layers/fc1/kernel'."""
  names = [
    str(getattr(k, 'name', getattr(k, 'key', getattr(k, 'idx', k))))
    for k in path
  ]
  return '/'.join(n for n in names if n != 'value')


def partition_spec(
  name: str, shape: tuple[int, ...], mesh, over=('data', 'model')
) -> P:
  """Returns the spec of the first matching rule, without axes that do not fit.

  An axis whose size does not divide the dimension is dropped, so that small
  models are replicated on large meshes.

  Args:
    name: array name, from `path_name`.
    shape: array shape.
    mesh: device mesh.
    over: mesh axes that may split the array.
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
  """Returns every leaf's NamedSharding.

  Args:
    tree: pytree of arrays or shapes.
    mesh: device mesh from `make_mesh`.
    over: mesh axes that may split a leaf.
  """

  def leaf_sharding(path, leaf):
    spec = partition_spec(path_name(path), leaf.shape, mesh, over)
    return jax.sharding.NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(leaf_sharding, tree)


def replicated(mesh) -> jax.sharding.NamedSharding:
  """Returns the sharding of an array that every device holds completely."""
  return jax.sharding.NamedSharding(mesh, P())


def use_mesh(mesh):
  """Returns a context that gives a mesh to the functions traced in it.

  `constrain`, `map_over_data` and kernels that no compiler can split use it.
  """
  return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def constrain(x: jax.Array) -> jax.Array:
  """Splits the batch over `data` in a context of `use_mesh`.

  Args:
    x: [B, ..., T, D].

  Returns:
    x, constrained if a mesh is set and `data` divides B.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or 'data' not in mesh.shape or x.ndim < 3:
    return x
  if x.shape[0] % mesh.shape['data']:
    return x
  spec = P('data', *(None,) * (x.ndim - 1))
  return jax.lax.with_sharding_constraint(x, spec)


def map_over_data(function, whole, *rows):
  """Maps a function over the shards of rows along `data`.

  Args:
    function: (whole, *rows) -> pytree of arrays with the rows in front.
    whole: pytree of arrays that each shard gets completely; their gradient is
      summed over the shards once.
    *rows: pytrees of arrays [B, ...].

  Returns:
    The result of the function for all rows. Without a mesh, or if `data` does
    not divide B, the function is called once.
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
  """Returns the rows [first, after) of a batch that this process must provide.

  Processes that share a row of the mesh provide the same rows.

  Args:
    mesh: device mesh from `make_mesh`.
    size: rows in the batch, a multiple of the `data` axis.
  """
  split = jax.sharding.NamedSharding(mesh, P('data'))
  parts = {
    index[0].indices(size)[:2]
    for index in split.addressable_devices_indices_map((size,)).values()
  }
  first, after = min(a for a, _ in parts), max(b for _, b in parts)
  if sum(b - a for a, b in parts) != after - first or first % (after - first):
    raise ValueError(
      f'the devices of process {jax.process_index()} have no consecutive rows'
    )
  return first, after


def put_batch(batch, mesh, first: int = 0, size: int = 0):
  """Places rows of a batch, split over `data`.

  Args:
    batch: pytree of numpy arrays [N, ...]: the whole batch, or the
      `process_rows` of this process.
    mesh: device mesh from `make_mesh`; its `data` axis must divide the batch.
    first: position of the first row in the whole batch.
    size: rows in the whole batch; 0 for N.

  Returns:
    Pytree of global arrays.
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
