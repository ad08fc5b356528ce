"""Records to device batches: Grain, where the position is the step.

The source is shuffled and repeated first and split among processes after, so
global batch k holds the same examples for any number of processes, and a run
resumes at step k by starting there.
"""

from collections.abc import Callable, Iterator, Sequence

import grain
import jax
import numpy as np

from hermesflow_jax import sharding


def batches(
  source: Sequence,
  transform: Callable[[dict, np.random.Generator], dict],
  *,
  seed: int,
  batch: int,
  start: int,
  mesh,
  threads: int = 1,
  prefetch: int = 16,
) -> Iterator[dict]:
  """Yields global device batches of a shuffled, endless source.

  Args:
    source: random-access records.
    transform: (record, generator) -> pytree of arrays without batch axis; the
      generator's seed depends only on `seed` and the record's position.
    seed: of the order and of the transform.
    batch: global batch size; a multiple of the process count.
    start: the step of the first batch.
    mesh: from `sharding.make_mesh`.
    threads: reading threads.
    prefetch: records read ahead.

  Raises:
    ValueError: the batch does not split among the processes.
  """
  processes = jax.process_count()
  if batch % processes:
    raise ValueError(f'batch {batch} does not split over {processes} processes')
  data = grain.MapDataset.source(source).seed(seed).shuffle()
  data = data.repeat(None, reseed_each_epoch=True)
  data = data[jax.process_index() :: processes]
  data = data.random_map(transform).batch(batch // processes, batch_fn=stack)
  rows = iter(
    data.to_iter_dataset(
      grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    )
  )
  rows.set_state({'next_index': start})
  for row in rows:
    yield sharding.put_batch(row, mesh)


def stack(records: Sequence):
  """Stacks pytrees of arrays along a new first axis."""
  return jax.tree.map(lambda *leaves: np.stack(leaves), *records)


def chunks(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
  """Yields (indices int[size], how many are real) over range(count).

  The last chunk repeats its last index, so that every chunk compiles alike.
  """
  for begin in range(0, count, size):
    real = min(size, count - begin)
    index = np.minimum(np.arange(begin, begin + size), count - 1)
    yield index, real


def mapped(function: Callable, arrays, size: int, mesh, progress=iter):
  """Applies a compiled function to rows in chunks over the mesh.

  Args:
    function: batch -> pytree of arrays [size, ...].
    arrays: pytree of numpy arrays [N, ...].
    size: rows a chunk; the mesh's `data` axis must divide it.
    mesh: from `sharding.make_mesh`.
    progress: wraps the list of chunks, e.g. a progress bar.

  Returns:
    The pytree of numpy arrays [N, ...]. Results of a chunk are fetched after
    the next one was started, so host and device overlap.
  """
  count = len(jax.tree.leaves(arrays)[0])
  parts, waiting = [], None

  def fetch(item):
    out, real = item
    parts.append(jax.tree.map(lambda a: np.asarray(a)[:real], out))

  for index, real in progress(list(chunks(count, size))):
    rows = jax.tree.map(lambda a: np.asarray(a)[index], arrays)
    out = function(sharding.put_batch(rows, mesh))
    if waiting:
      fetch(waiting)
    waiting = out, real
  if waiting:
    fetch(waiting)
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
