"""Sums over the parts of a batch, which are computed in turn."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def sum_over_parts(function: Callable, batch, parts: int, data: int):
  """Returns the sum of a function over equal parts of a batch.

  Args:
    function: batch -> pytree of arrays.
    batch: pytree of arrays [B, ...]; B may differ between arrays.
    parts: number of parts, computed in turn; each part uses every device.
    data: devices along the mesh's `data` axis, which splits rows.

  Raises:
    ValueError: `parts * data` does not divide B.
  """
  if parts == 1:
    return function(batch)
  for size in sorted({len(a) for a in jax.tree.leaves(batch)}):
    if size % (parts * data):
      raise ValueError(
        f'batch must be a multiple of accumulate={parts} times data={data}, '
        f'got {size}'
      )

  def split(a):
    shape = len(a) // parts, parts, *a.shape[1:]
    return jnp.moveaxis(a.reshape(shape), 1, 0)

  def add(total, part):
    return jax.tree.map(jnp.add, total, function(part)), None

  batch = jax.tree.map(split, batch)
  # Its shapes and the scan take a single trace.
  function = jax.jit(function, inline=True)
  zeros = jax.tree.map(
    lambda a: jnp.zeros(a.shape, a.dtype),
    jax.eval_shape(function, jax.tree.map(lambda a: a[0], batch)),
  )
  return jax.lax.scan(add, zeros, batch)[0]
