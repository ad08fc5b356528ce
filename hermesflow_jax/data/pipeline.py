"""Records to device batches: Grain, where the position is the step.

The source is shuffled, repeated and batched first and shared out among
processes after, so global batch k holds the same rows in the same order for
any number of processes, and a run resumes at step k by starting there.
"""

from collections.abc import Callable, Iterator, Sequence
import hashlib
import json

import grain
import jax
import numpy as np

from hermesflow_jax import console
from hermesflow_jax import interrupts
from hermesflow_jax import processes
from hermesflow_jax import sharding

# Records of an endless source. Grain's own infinity, sys.maxsize, is rounded up
# to 2^63 by batches of one row, which no python length can be.
_ENDLESS = 2**48

Transform = Callable[[dict, np.random.Generator], dict]


def batches(
  source: Sequence,
  transform: Transform,
  *,
  seed: int,
  batch: int,
  start: int,
  mesh,
  threads: int = 1,
  prefetch: int = 4,
) -> Iterator[dict]:
  """Yields global device batches of a shuffled, endless source.

  Args:
    source: random-access records.
    transform: (record, generator) -> pytree of arrays without batch axis; the
      generator's seed depends only on `seed` and the record's position.
    seed: of the order and of the transform.
    batch: global batch size; the mesh's `data` axis divides it.
    start: the step of the first batch.
    mesh: from `sharding.make_mesh`.
    threads: reading threads.
    prefetch: batches read ahead.

  Raises:
    ValueError: there are no records, or the batch does not split.
  """
  first, after = sharding.share(mesh, batch)
  rows = host_batches(
    source,
    transform,
    seed=seed,
    batch=batch,
    start=start,
    process=first // (after - first),
    processes=batch // (after - first),
    threads=threads,
    prefetch=prefetch,
  )
  for row in rows:
    yield sharding.put_batch(row, mesh, first, batch)


def host_batches(
  source: Sequence,
  transform: Transform,
  *,
  seed: int,
  batch: int,
  start: int,
  process: int,
  processes: int,
  threads: int = 1,
  prefetch: int = 4,
) -> Iterator[dict]:
  """Yields one process's share of the batches, in numpy; see `batches`.

  Args:
    process: which share, in [0, processes); the shares of batch k, one after
      the other, are batch k of one process.
    processes: how many shares.
  """
  if not len(source):
    raise ValueError('there are no records to take batches from')
  if batch % processes:
    raise ValueError(f'batch {batch} does not split over {processes} processes')
  data = _ordered(source, seed)
  data = data.random_map(transform)
  data = data.batch(batch // processes, batch_fn=stack)[process::processes]
  rows = iter(
    data.to_iter_dataset(
      grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    )
  )
  rows.set_state({'next_index': start})
  yield from rows


def _ordered(source, seed):
  """The records of all passes, each in an order of its own."""
  data = grain.MapDataset.source(source).seed(seed).shuffle()
  return data.repeat(_ENDLESS // len(source) + 1, reseed_each_epoch=True)


def picked(count: int, *, seed: int, batch: int, step: int) -> list[int]:
  """Returns the places, in a source of `count`, of the records of a step."""
  data = _ordered(range(count), seed)
  return [int(data[n]) for n in range(step * batch, (step + 1) * batch)]


def content(records: Sequence[dict]) -> str:
  """Returns a hash of records of texts, numbers and arrays."""
  total = hashlib.sha256()
  for record in records:
    for name in sorted(record):
      value = record[name]
      if isinstance(value, (np.ndarray, np.generic)):
        value = [str(value.dtype), *value.shape, value.tobytes().hex()]
      total.update(json.dumps([name, value]).encode())
  return total.hexdigest()


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


def mapped(
  function: Callable, arrays, size: int, mesh, progress=iter, clock=None
):
  """Applies a compiled function to rows in chunks over the mesh.

  Args:
    function: batch -> pytree of arrays [size, ...].
    arrays: pytree of numpy arrays [N, ...].
    size: rows a chunk; the mesh's `data` axis must divide it.
    mesh: from `sharding.make_mesh`.
    progress: wraps the rows, e.g. a progress bar.
    clock: a `clock.Clock`, or None.

  Returns:
    The pytree of numpy arrays [N, ...]. Results of a chunk are fetched after
    the next one was started, so host and device overlap.

  Raises:
    ValueError: there are no rows, or the mesh does not divide the chunk.
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
    parts.append(jax.tree.map(lambda a: a[:real], processes.fetched(out)))

  every = list(chunks(count, size))
  sizes = [real for _, real in every]
  for index, real in console.counted(progress, every, sizes):
    interrupts.heed()
    rows = jax.tree.map(lambda a: np.asarray(a)[index], arrays)
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
