"""Candidates for many inputs, in shards: each input exactly once.

The content of a shard depends only on the model, the inputs and the settings,
not on the process that generates it, its mesh or the order of shards. The host
scores and writes a shard while the device generates the next.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import hashlib
import json

import numpy as np

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import shard_codes
from hermesflow_jax.curation import shard_texts
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import timing
from hermesflow_jax.sampling import unified_model


def gather(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  config: candidate_generation.CandidateConfig,
  store: shards.Shards,
  size: int,
  *,
  share: int = 0,
  shares: int = 1,
  progress: Callable[[Iterable], Iterable] = iter,
) -> timing.DeviceClock:
  """Generates, scores and writes the missing shards of this job.

  Args:
    unified: the model.
    inputs: N inputs, always in the same order.
    config: samplers, scorer and seed.
    store: ceil(N / size) shards.
    size: inputs per shard.
    share: number of this job, 0 to `shares` - 1; shard n belongs to job
      n modulo `shares`.
    shares: number of jobs that divide the shards.
    progress: wraps the inputs in the missing shards.

  Returns:
    Clock with the seconds that the device worked and waited.

  Raises:
    ValueError: existing shards were made from other inputs.
  """
  processes.on_first_process(lambda: check_shards(store, inputs, size))
  spans = list(shards.shard_slices(len(inputs), size))
  with (
    timing.DeviceClock() as clock,
    concurrent.futures.ThreadPoolExecutor(1) as host,
  ):
    timed_model = dataclasses.replace(unified, clock=clock)
    waiting = []
    missing = processes.broadcast_from_first(
      lambda: store.missing(share, shares)
    )
    sizes = [spans[n].stop - spans[n].start for n in missing]
    for number in terminal.weighted_progress(progress, missing, sizes):
      part = inputs.part(spans[number])
      generated = candidate_generation.generate(timed_model, part, config)
      # In all processes, between two uses of the devices.
      generated = candidate_generation.score_on_devices(
        timed_model, part, config, *generated
      )
      # Raises if the last shard could not be written, and keeps few in memory.
      for written in waiting:
        written.result()
      if processes.is_first():
        waiting = [host.submit(_write, store, number, part, config, generated)]
    for written in waiting:
      written.result()
  processes.barrier()
  return clock


def _write(store, number, part, config, generated):
  """Scores what `score_on_devices` returned; writes the shard."""
  candidates = candidate_generation.score(part, config, *generated)
  store.write(
    number,
    {
      shard_texts.LINES: candidate_lines(part, candidates).encode(),
      shard_codes.ARRAYS: candidate_arrays(candidates),
    },
    {
      'inputs': len(part),
      'first': part.ids[0],
      'last': part.ids[-1],
      'content': inputs_hash(part),
    },
  )


def inputs_hash(inputs: input_set.Inputs) -> str:
  """Returns a SHA-256 over ids, captions, questions and codes, in hex."""
  texts = json.dumps([inputs.ids, inputs.captions, inputs.questions])
  codes = np.ascontiguousarray(inputs.codes, np.int64).tobytes()
  return hashlib.sha256(texts.encode() + codes).hexdigest()


def check_shards(
  store: shards.Shards, inputs: input_set.Inputs, size: int
) -> None:
  """Checks that existing shards were made from these inputs.

  Args:
    store: ceil(N / size) shards.
    inputs: N inputs.
    size: inputs per shard.

  Raises:
    ValueError: a shard was made from other inputs.
  """
  for number, span in enumerate(shards.shard_slices(len(inputs), size)):
    record = store.facts(number)
    if record and record.get('content') != inputs_hash(inputs.part(span)):
      raise ValueError(
        f'the shards in {store.folder} were made from other inputs: files '
        'have changed since; give another --workdir'
      )


def candidate_lines(
  inputs: input_set.Inputs, candidates: candidate_generation.Candidates
) -> str:
  """Returns captions, answers and scores as JSON lines, a line per input."""
  return output_files.json_lines(
    [
      {
        'id': inputs.ids[n],
        'caption': inputs.captions[n],
        'captions': candidates.captions[n],
        'caption_scores': candidates.caption_scores[n].tolist(),
        'image_scores': candidates.image_scores[n].tolist(),
        'answers': candidates.answers[n],
      }
      | (
        {} if candidates.drawn is None else {'drawn': int(candidates.drawn[n])}
      )
      for n in range(len(inputs))
    ]
  )


def candidate_arrays(candidates: candidate_generation.Candidates) -> bytes:
  """Returns codes and scores as an npz file's bytes."""
  return output_files.npz_bytes(
    codes=candidates.codes,
    caption_scores=candidates.caption_scores,
    image_scores=candidates.image_scores,
  )


def collect(
  store: shards.Shards, inputs: input_set.Inputs, size: int
) -> candidate_generation.Candidates:
  """Reads all candidates, in input order; see `read_shards`.

  Args:
    store: ceil(N / size) shards.
    inputs: N inputs, as in `gather`.
    size: inputs per shard, as in `gather`.

  Raises:
    ValueError: a shard is missing or damaged, or made from other inputs.
  """
  check_shards(store, inputs, size)
  return read_shards(store)[1]


def read_shards(
  store: shards.Shards,
) -> tuple[Sequence[str], candidate_generation.Candidates]:
  """Reads all candidates, whatever inputs they were made from.

  Args:
    store: shards.

  Returns:
    (input ids, their candidates). Image codes and texts are read when they are
    taken, see `shard_codes.ShardCodes` and `shard_texts.ShardTexts`.

  Raises:
    ValueError: a shard is missing or damaged.
  """
  missing = store.missing()
  if missing:
    raise ValueError(
      f'{len(missing)} of {store.count} shards are missing, the first is '
      f'{missing[0]}'
    )
  ids, drawn, counts = disk_objects.Store(), disk_arrays.Integers(), []
  for number in range(store.count):
    before = len(ids)
    for row in shard_texts.read_rows(store, number):
      ids.add(row['id'])
      if 'drawn' in row:
        drawn.append(row['drawn'])
    counts.append(len(ids) - before)
  return ids.values(), candidate_generation.Candidates(
    captions=shard_texts.ShardTexts(store, counts, 'captions'),
    codes=shard_codes.ShardCodes(store, counts),
    answers=shard_texts.ShardTexts(store, counts, 'answers', repeated=True),
    drawn=drawn.array if drawn else None,
    **disk_arrays.join_fields(
      (shard_codes.read_arrays(store, n) for n in range(store.count)),
      len(ids),
      ('caption_scores', 'image_scores'),
    ),
  )
