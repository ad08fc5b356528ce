"""The candidates of many inputs: in shards, each input exactly once.

What a shard holds follows from the model, its inputs and the recipe alone, so
it does not matter which process makes it, on what mesh, or in which order. The
host scores and writes one shard while the device makes the next.
"""

from collections.abc import Callable, Iterable
import concurrent.futures
import dataclasses
import io
import json
import time

import numpy as np

from hermesflow_jax import curation
from hermesflow_jax import inference
from hermesflow_jax import shards
from hermesflow_jax.evaluation import gap

_LINES, _ARRAYS = 'jsonl', 'npz'


@dataclasses.dataclass
class Clock:
  """Where the time went, in seconds.

  Attributes:
    made: in calls of the model, its hosts' part of them included.
    waited: the device had no work, as the host was not done yet.
  """

  made: float = 0.0
  waited: float = 0.0


def gather(
    unified: inference.Unified,
    inputs: gap.Inputs,
    recipe: curation.Recipe,
    store: shards.Shards,
    size: int,
    *,
    share: int = 0,
    shares: int = 1,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Clock:
  """Makes the shards of a share that are not there.

  Args:
    unified: the model.
    inputs: N inputs, in an order that is always the same.
    recipe: how.
    store: of the shards, ceil(N / size) of them.
    size: inputs a shard.
    share, shares: see `shards.Shards.missing`.
    progress: wraps the list of shards.

  Returns:
    Where the time went.
  """
  spans = list(shards.spans(len(inputs), size))
  clock, waiting = Clock(), None
  with concurrent.futures.ThreadPoolExecutor(1) as host:
    for number in progress(store.missing(share, shares)):
      part = inputs.part(spans[number])
      began = time.perf_counter()
      found = curation.made(unified, part, recipe)
      ended = time.perf_counter()
      if waiting:
        waiting.result()
      clock.made += ended - began
      clock.waited += time.perf_counter() - ended
      waiting = host.submit(_write, store, number, part, recipe, found)
    if waiting:
      ended = time.perf_counter()
      waiting.result()
      clock.waited += time.perf_counter() - ended
  return clock


def _write(store, number, part, recipe, found):
  candidates = curation.scored(part, recipe, *found)
  store.write(
      number,
      {_LINES: lines(part, candidates).encode(), _ARRAYS: arrays(candidates)},
      {'inputs': len(part), 'first': part.ids[0], 'last': part.ids[-1]},
  )


def lines(inputs: gap.Inputs, found: curation.Candidates) -> str:
  """Returns candidates as JSON lines for people, one an input."""
  return curation.dump([
      {
          'id': inputs.ids[n], 'caption': inputs.captions[n],
          'captions': found.captions[n],
          'caption_scores': found.caption_scores[n].tolist(),
          'image_scores': found.image_scores[n].tolist(),
          'answers': found.answers[n],
      }
      for n in range(len(inputs))
  ])


def arrays(found: curation.Candidates) -> bytes:
  """Returns the arrays of candidates as the bytes of an npz file."""
  buffer = io.BytesIO()
  np.savez_compressed(
      buffer, codes=found.codes, caption_scores=found.caption_scores,
      image_scores=found.image_scores,
  )
  return buffer.getvalue()


def collect(store: shards.Shards) -> tuple[list[str], curation.Candidates]:
  """Returns (ids, candidates) of all shards, in order.

  Raises:
    ValueError: a shard is missing or damaged.
  """
  missing = store.missing()
  if missing:
    raise ValueError(
        f'{len(missing)} of {store.count} shards are not there, the first is '
        f'{missing[0]}'
    )
  rows, parts = [], []
  for number in range(store.count):
    text = store.read(number, _LINES).decode()
    rows += [json.loads(line) for line in text.splitlines()]
    parts.append(np.load(io.BytesIO(store.read(number, _ARRAYS))))

  def joined(name):
    return np.concatenate([part[name] for part in parts])

  return [row['id'] for row in rows], curation.Candidates(
      captions=[row['captions'] for row in rows],
      caption_scores=joined('caption_scores'),
      codes=joined('codes'),
      image_scores=joined('image_scores'),
      answers=[row['answers'] for row in rows],
  )
