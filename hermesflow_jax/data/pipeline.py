"""Records to device batches: Grain, where the position is the step.

The source is shuffled, repeated and batched first and shared out among
processes after, so global batch k holds the same rows in the same order for
any number of processes, and a run resumes at step k by starting there.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import hashlib
import json

import grain
import numpy as np

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding

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
  first, after = sharding.process_rows(mesh, batch)
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
  data = data.batch(batch // processes, batch_fn=batching.stack)[
    process::processes
  ]
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


def batch_indices(count: int, *, seed: int, batch: int, step: int) -> list[int]:
  """Returns the places, in a source of `count`, of the records of a step."""
  data = _ordered(range(count), seed)
  return [int(data[n]) for n in range(step * batch, (step + 1) * batch)]


def content_hash(records: Sequence[dict]) -> str:
  """Returns a hash of records of texts, numbers and arrays."""
  total = hashlib.sha256()
  for record in records:
    for name in sorted(record):
      value = record[name]
      if isinstance(value, (np.ndarray, np.generic)):
        value = [str(value.dtype), *value.shape, value.tobytes().hex()]
      total.update(json.dumps([name, value]).encode())
  return total.hexdigest()
