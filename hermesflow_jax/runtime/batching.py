"""Maps a function over rows in chunks on the device mesh."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal


@dataclasses.dataclass(frozen=True)
class BuiltRows:
  """Rows that are built when their batch is computed.

  Memory holds the rows of few batches, in place of N rows.

  Attributes:
    count: N rows.
    build: indices int[B] -> pytree of arrays [B, ...], or of objects that
      `np.asarray` reads. All batches have the same structure and types.
    divided: whether each of several processes builds only the rows that its
      devices take. False for a function that must see all rows.
  """

  count: int
  build: Callable[[np.ndarray], Any]
  divided: bool = False

  def __len__(self) -> int:
    return self.count


def stack(records: Sequence):
  """Stacks pytrees of arrays along a new first axis.

  Args:
    records: pytrees of arrays with equal structures and shapes.
  """
  return jax.tree.map(lambda *leaves: np.stack(leaves), *records)


def index_chunks(count: int, size: int) -> Sequence[tuple[np.ndarray, int]]:
  """Returns (indices int[size], number of real indices) over range(count).

  The last chunk repeats its last index, so that all chunks have the same shape.

  Args:
    count: row count.
    size: rows per chunk.
  """

  def chunk_at(number):
    begin = number * size
    index = np.minimum(np.arange(begin, begin + size), count - 1)
    return index, min(size, count - begin)

  return disk_objects.Computed(-(-count // size), chunk_at)


def map_batches(
  function: Callable, arrays, size: int, mesh, progress=iter, clock=None
):
  """Applies a compiled function to rows in chunks over the mesh.

  Of several processes, each builds the rows of its own devices, if all rows are
  arrays or may be divided.

  Args:
    function: batch -> pytree of arrays [size, ...].
    arrays: pytree of numpy arrays [N, ...], of `BuiltRows`, or of objects that
      give such arrays by `np.asarray(object[indices])`, e.g.
      `lazy_images.LazyImages`.
    size: rows per chunk, a multiple of the mesh's `data` axis.
    mesh: device mesh from `sharding.make_mesh`.
    progress: wraps an iterable of rows to show its progress.
    clock: a `timing.DeviceClock`, or None.

  Returns:
    Pytree of numpy arrays [N, ...]; large ones lie in files, see `disk_arrays`.
    Host and device overlap: a chunk is fetched after the next chunk was
    started.

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
  first, after = _own_rows(arrays, mesh, size)
  results, done, waiting = None, 0, None

  def fetch(item):
    nonlocal results, done
    out, real = item
    out = processes.to_host(out)
    if results is None:
      results = jax.tree.map(
        lambda a: disk_arrays.empty((count, *a.shape[1:]), a.dtype), out
      )

    def store(result, part):
      result[done : done + real] = part[:real]

    jax.tree.map(store, results, out)
    done += real

  chunks = index_chunks(count, size)
  sizes = disk_objects.Computed(len(chunks), lambda n: chunks[n][1])
  for index, real in terminal.weighted_progress(progress, chunks, sizes):
    interrupts.raise_if_stopped()
    rows = jax.tree.map(functools.partial(_rows, index[first:after]), arrays)
    batch = sharding.put_batch(rows, mesh, first, size)
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
  return results


def _own_rows(arrays, mesh, size: int) -> tuple[int, int]:
  """Returns the rows [first, after) of a chunk that this process builds."""
  if processes.single_process() or not mesh.local_devices:
    return 0, size
  for rows in jax.tree.leaves(arrays):
    if not getattr(rows, 'divided', isinstance(rows, np.ndarray)):
      return 0, size
  try:
    return sharding.process_rows(mesh, size)
  except ValueError:
    # Its devices have rows here and there.
    return 0, size


def _rows(index, array):
  """Returns rows of an array; of other objects, only these rows are read."""
  if isinstance(array, BuiltRows):
    return jax.tree.map(np.asarray, array.build(index))
  if isinstance(array, (np.ndarray, jax.Array)):
    return np.asarray(array)[index]
  return np.asarray(array[index])
