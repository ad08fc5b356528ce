"""Fingerprints of arrays that are spread over devices."""

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.runtime import sharding

# Bytes of a large array that are summed at once.
CHUNK = 2**26
# Arrays of at most so many bytes are summed by the host: a program for a model
# of a hundred such arrays takes seconds to compile.
HOST = 2**22


def leaf_sums(leaf, start=0) -> jax.Array:
  """Returns uint32[2]: two position-weighted sums of the bits of an array.

  Args:
    leaf: array with elements of 1, 2 or 4 bytes.
    start: uint32[], position of its first element in a larger array.
  """
  if leaf.dtype == jnp.bool_:
    leaf = leaf.astype(jnp.uint8)
  width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
  bits = jax.lax.bitcast_convert_type(leaf, width).astype(jnp.uint32)
  # Not raveled, so that each device of a mesh sums its own part.
  place, stride = jnp.uint32(start), 1
  for axis in reversed(range(bits.ndim)):
    index = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
    place = place + index * jnp.uint32(stride % 2**32)
    stride *= bits.shape[axis]
  # Odd weights are invertible modulo 2^32, so no single flip can vanish.
  first = place * jnp.uint32(2_654_435_761) | jnp.uint32(1)
  second = (place ^ (place >> 7)) * jnp.uint32(40_503) | jnp.uint32(1)
  return jnp.stack(
    [
      jnp.sum(bits * first, dtype=jnp.uint32),
      jnp.sum(bits * second, dtype=jnp.uint32),
    ]
  )


@jax.jit
def _sums_of_all(leaves):
  return [leaf_sums(leaf) for leaf in leaves]


_sums_of_part = jax.jit(leaf_sums)


def _sums_on_host(leaf) -> np.ndarray:
  """Returns `leaf_sums` of an array, computed by numpy."""
  array = np.ascontiguousarray(leaf)
  bits = array.ravel().view(f'u{array.itemsize}').astype(np.uint32)
  place = np.arange(bits.size, dtype=np.uint32)
  first = place * np.uint32(2_654_435_761) | np.uint32(1)
  second = (place ^ (place >> np.uint32(7))) * np.uint32(40_503) | np.uint32(1)
  return np.array(
    [np.sum(bits * weights, dtype=np.uint32) for weights in (first, second)]
  )


def _sums_of_large(leaf) -> np.ndarray:
  """Returns the sums of an array, in parts: XLA on CPU copies it twice."""
  step = max(1, CHUNK * len(leaf) // leaf.nbytes)
  total, row = np.zeros(2, np.uint32), leaf.size // len(leaf)
  for i in range(0, len(leaf), step):
    start = np.uint32(i * row % 2**32)
    total += np.asarray(_sums_of_part(leaf[i : i + step], start))
  return total


def _is_large(leaf) -> bool:
  on_one_device = (
    not isinstance(leaf, jax.Array) or len(leaf.sharding.device_set) == 1
  )
  return on_one_device and leaf.ndim > 0 and leaf.nbytes > CHUNK


def _is_small(leaf) -> bool:
  if leaf.nbytes > HOST:
    return False
  return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable


def fingerprint(tree) -> dict[str, list[int]]:
  """Returns two 32-bit sums of each array's bits, by name.

  Args:
    tree: pytree of arrays with elements of 1, 2 or 4 bytes.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  names = [sharding.path_name(path) for path, _ in leaves]
  arrays = {n: leaf for n, (_, leaf) in zip(names, leaves)}
  large = {n: leaf for n, leaf in arrays.items() if _is_large(leaf)}
  rest = {n: leaf for n, leaf in arrays.items() if n not in large}
  small = {n: leaf for n, leaf in rest.items() if _is_small(leaf)}
  rest = {n: leaf for n, leaf in rest.items() if n not in small}
  sums = dict(zip(rest, _sums_of_all(list(rest.values()))))
  sums |= {n: _sums_of_large(leaf) for n, leaf in large.items()}
  sums |= {
    n: _sums_on_host(array) for n, array in jax.device_get(small).items()
  }
  return {n: [int(v) for v in np.asarray(sums[n])] for n in names}
