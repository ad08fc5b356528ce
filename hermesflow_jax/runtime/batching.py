"""Maps a function over rows in chunks on the device mesh."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import functools

import jax
import numpy as np

from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal


def stack(records: Sequence):
  """Stacks pytrees of arrays along a new first axis.

  Args:
    records: pytrees of arrays with equal structures and shapes.
  """
  return jax.tree.map(lambda *leaves: np.stack(leaves), *records)


def index_chunks(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
  """Yields (indices int[size], number of real indices) over range(count).

  The last chunk repeats its last index, so that all chunks have the same shape.

  Args:
    count: row count.
    size: rows per chunk.
  """
  for begin in range(0, count, size):
    real = min(size, count - begin)
    index = np.minimum(np.arange(begin, begin + size), count - 1)
    yield index, real


def map_batches(
  function: Callable, arrays, size: int, mesh, progress=iter, clock=None
):
  """Applies a compiled function to rows in chunks over the mesh.

  Args:
    function: batch -> pytree of arrays [size, ...].
    arrays: pytree of numpy arrays [N, ...], or of objects that give such arrays
      by `np.asarray(object[indices])`, e.g. `lazy_images.LazyImages`.
    size: rows per chunk, a multiple of the mesh's `data` axis.
    mesh: device mesh from `sharding.make_mesh`.
    progress: wraps an iterable of rows to show its progress.
    clock: a `timing.DeviceClock`, or None.

  Returns:
    Pytree of numpy arrays [N, ...]. Host and device overlap: a chunk is
    fetched after the next chunk was started.

  Raises:
    ValueError: N is 0, or the mesh does not divide the chunk.
  """
  count = len(jax.tree.leaves(arrays)[0])
  if not count:
    raise ValueError('there are no rows to map')
  if size % mesh.shape['data']:
    raise ValueError(
      f'chunk {size} does not split over data={mesh.shape["data"]}'
    )
  parts, waiting = [], None

  def fetch(item):
    out, real = item
    parts.append(jax.tree.map(lambda a: a[:real], processes.to_host(out)))

  chunks = list(index_chunks(count, size))
  sizes = [real for _, real in chunks]
  for index, real in terminal.weighted_progress(progress, chunks, sizes):
    interrupts.raise_if_stopped()
    rows = jax.tree.map(functools.partial(_rows, index), arrays)
    batch = sharding.put_batch(rows, mesh)
    if clock:
      out = clock.call(function, batch, waiting and waiting[0])
    else:
      out = function(batch)
    if waiting:
      fetch(waiting)
    waiting = out, real
  if waiting:
    fetch(waiting)
  if clock:
    clock.fetched()
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _rows(index, array) -> np.ndarray:
  """Returns rows of an array; of other objects, only these rows are read."""
  if isinstance(array, (np.ndarray, jax.Array)):
    return np.asarray(array)[index]
  return np.asarray(array[index])
