"""Builds device batches from records with Grain.

Records are shuffled, repeated and batched before batches are divided among
processes. So global batch k holds the same rows in the same order however many
processes run, and a run resumes at step k by starting with batch k.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import hashlib
import json

import numpy as np

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import sharding

# Length of the repeated source. Grain rounds its own infinity, sys.maxsize, up
# to 2^63 for batches of a single row, which exceeds the length limit of python.
_ENDLESS = 2**48

Transform = Callable[[dict, np.random.Generator], dict]


@dataclasses.dataclass(frozen=True)
class Mixture:
  """Record sources that are read in proportion to their weights.

  Each source is shuffled and repeated by itself. Of any K consecutive records,
  a source gives its share of K, up to a record.

  Attributes:
    sources: random-access records, each not empty.
    weights: a weight above 0 per source.
  """

  sources: tuple[Sequence, ...]
  weights: tuple[float, ...]

  def __len__(self):
    return sum(map(len, self.sources))


def batches(
  source: Sequence | Mixture,
  transform: Transform,
  *,
  seed: int,
  batch: int,
  start: int,
  mesh,
  threads: int = 1,
  prefetch: int = 4,
) -> Iterator[dict]:
  """Yields global device batches from a shuffled, endless source.

  Args:
    source: random-access records, or a `Mixture` of several sources.
    transform: (record, generator) -> pytree of arrays without batch axis. The
      generator's seed depends only on `seed` and the record's position.
    seed: random seed for the order and the transform.
    batch: global batch size, a multiple of the mesh's `data` axis.
    start: first step.
    mesh: device mesh.
    threads: reading threads.
    prefetch: batches read ahead.

  Raises:
    ValueError: the source is empty, or `batch` is no such multiple.
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
  source: Sequence | Mixture,
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
  """Yields a process's share of the global batches as numpy arrays.

  Batch k in a run with a single process equals the concatenated shares, ordered
  by process.

  Args:
    source: random-access records, or a `Mixture` of several sources.
    transform: (record, generator) -> pytree of arrays, see `batches`.
    seed: random seed for the order and the transform.
    batch: global batch size, a multiple of `processes`.
    start: first step.
    process: index of this process, in [0, processes).
    processes: number of processes.
    threads: reading threads.
    prefetch: batches read ahead.

  Raises:
    ValueError: the source is empty, or `batch` is no such multiple.
  """
  import grain

  if not len(source):
    raise ValueError('the source must hold records, got none')
  if batch % processes:
    raise ValueError(
      f'batch must be a multiple of {processes} processes, got {batch}'
    )
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
  """Repeats the records; every epoch has its own order."""
  import grain

  if isinstance(source, Mixture):
    parts = [
      _ordered(part, seed + number)
      for number, part in enumerate(source.sources)
    ]
    data = grain.MapDataset.mix(parts, weights=source.weights)
    return data.seed(seed % 2**32)
  # Seeds derived from a large one may need more bits than grain takes.
  data = grain.MapDataset.source(source).seed(seed % 2**32).shuffle()
  return data.repeat(_ENDLESS // len(source) + 1, reseed_each_epoch=True)


def batch_indices(count: int, *, seed: int, batch: int, step: int) -> list[int]:
  """Returns which of `count` records a step reads, as indices."""
  data = _ordered(range(count), seed)
  return [int(data[n]) for n in range(step * batch, (step + 1) * batch)]


def content_hash(records: Iterable[dict]) -> str:
  """Hashes records that hold texts, numbers and arrays."""
  total = hashlib.sha256()
  for record in records:
    for name in sorted(record):
      value = record[name]
      if isinstance(value, (np.ndarray, np.generic)):
        value = [str(value.dtype), *value.shape, value.tobytes().hex()]
      total.update(json.dumps([name, value]).encode())
  return total.hexdigest()
