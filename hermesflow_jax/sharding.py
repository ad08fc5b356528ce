"""Where every array lives: one mesh, one table of rules.

Models know no mesh. Parameters and optimizer state are placed by the first
rule whose pattern is found in their path; the residual stream is constrained
once a block; batches are split over `data`.
"""

import math
import re

import jax
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


def make_mesh(data: int = -1, model: int = 1) -> jax.sharding.Mesh:
  """Returns a mesh ('data', 'model') over all devices.

  Args:
    data: devices along `data`; -1 takes what `model` leaves.
    model: devices along `model`.

  Raises:
    ValueError: the product is not the number of devices.
  """
  count = jax.device_count()
  if data == -1 and model > 0 and count % model == 0:
    data = count // model
  if data < 1 or model < 1 or data * model != count:
    raise ValueError(
        f'mesh data={data} model={model} does not fit {count} device(s)'
    )
  return jax.make_mesh(
      (data, model),
      ('data', 'model'),
      axis_types=(jax.sharding.AxisType.Auto,) * 2,
  )


def path_name(path) -> str:
  """Returns 'decoder/layers/fc1/kernel' for a pytree path of a module."""
  names = [str(getattr(k, 'name', getattr(k, 'key', getattr(k, 'idx', k))))
           for k in path]
  return '/'.join(n for n in names if n != 'value')


def spec_of(
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
    spec = spec_of(path_name(path), leaf.shape, mesh, over)
    return jax.sharding.NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(one, tree)


def replicated(mesh) -> jax.sharding.NamedSharding:
  """Returns the sharding of a whole copy on each device."""
  return jax.sharding.NamedSharding(mesh, P())


def constrain(x: jax.Array) -> jax.Array:
  """Splits [B, ..., T, D] over `data` when a mesh is set; else returns x."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or 'data' not in mesh.shape or x.ndim < 3:
    return x
  if x.shape[0] % mesh.shape['data']:
    return x
  spec = P('data', *(None,) * (x.ndim - 1))
  return jax.lax.with_sharding_constraint(x, spec)


def by_rows(function, whole, *rows):
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
      function, in_specs=(P(), *[P('data')] * len(rows)), out_specs=P('data'),
      axis_names={'data'}, check_vma=False,
  )(whole, *rows)


def put_batch(batch, mesh):
  """Places this process's rows of a global batch, split over `data`.

  Args:
    batch: pytree of numpy arrays [local B, ...].
    mesh: from `make_mesh`; its `data` axis must divide the global batch.

  Returns:
    The same pytree of global arrays.
  """
  sharding = jax.sharding.NamedSharding(mesh, P('data'))

  def put(rows):
    return jax.make_array_from_process_local_data(sharding, np.asarray(rows))

  return jax.tree.map(put, batch)


def put_whole(batch, mesh):
  """Places a batch that each process holds whole, split over `data`.

  Args:
    batch: pytree of numpy arrays [B, ...], the same in all processes.
    mesh: from `make_mesh`; its `data` axis must divide B.
  """
  sharding = jax.sharding.NamedSharding(mesh, P('data'))

  def put(rows):
    rows = np.asarray(rows)
    return jax.make_array_from_callback(
        rows.shape, sharding, lambda index: rows[index]
    )

  return jax.tree.map(put, batch)
