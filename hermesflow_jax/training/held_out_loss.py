"""Loss on held-out examples while a model is fine-tuned.

All measurements of a run have the same examples and the same masked codes, so
their losses differ only by the model.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import dataclasses
import functools
import itertools
import json
import typing

import jax
import numpy as np

from hermesflow_jax.data import pipeline
from hermesflow_jax.data import task_sources
from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import log_likelihood
from hermesflow_jax.training import task_loss
from hermesflow_jax.training import task_rows

# The keys of the masks are folded from numbers that no step reaches.
_FIRST_KEY = 2**31


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Examples whose loss is measured, and that the model does not learn.

  Attributes:
    share: share of each data set that is held out; 0 for none.
    t2i: image sets in place of a share.
    mmu: image sets in place of a share; () for those of `t2i`.
    lm: text sets in place of a share; () for the captions of `t2i`.
    batches: batches per task that are measured, at most; they have the size of
      training batches.
  """

  share: typing.Annotated[float, settings.between(0, 0.5)] = 0.0
  t2i: tuple[task_sources.ImageSet, ...] = ()
  mmu: tuple[task_sources.ImageSet, ...] = ()
  lm: tuple[task_sources.TextSet, ...] = ()
  batches: settings.PositiveInt = 4

  def __post_init__(self):
    settings.check(self)
    if self.share and self.t2i:
      raise ValueError(
        f'held_out.share must be 0 with held_out.t2i, got {self.share}; give '
        'one of both'
      )
    if (self.mmu or self.lm) and not self.t2i:
      raise ValueError(
        'held_out.t2i must have a data set with held_out.mmu or held_out.lm, '
        'got none'
      )

  @property
  def active(self) -> bool:
    """Whether examples are held out."""
    return bool(self.share or self.t2i)


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What `make_measurement` needs of a training run.

  Attributes:
    sources: held-out examples of 't2i', 'mmu' and 'lm'.
    transforms: functions from an example to its row, without random crops.
    sizes: rows of a batch by task.
    batches: most batches.
    encode: puts image codes into a device batch; see `image_codes`.
    weights: loss weight of each task, for the total.
    image_tokens: I, codes per image.
    label_rows: labels of a row whose logits are in memory at once.
    schedule: mask schedule.
    threads: threads that read images.
    seed: seed of the masks.
    vocab: token ids.
    mesh: device mesh.
  """

  sources: Mapping[str, pipeline.Mixture]
  transforms: Mapping[str, Callable]
  sizes: Mapping[str, int]
  batches: int
  encode: Callable
  weights: Mapping[str, float]
  image_tokens: int
  label_rows: int
  schedule: mask_schedules.Schedule
  threads: int
  seed: int
  vocab: vocabulary.Vocab
  mesh: jax.sharding.Mesh


def make_measurement(config: Measurement) -> Callable:
  """Returns the function from a model to its held-out losses.

  Images are read and encoded at the first call.

  Args:
    config: examples and how they become rows.

  Returns:
    ShowO -> {'held_out/t2i', 'held_out/mmu', 'held_out/lm': nats per token,
    'held_out/total': their weighted sum}.
  """
  batches = functools.cache(lambda: _encoded_batches(config))
  key = jax.random.key(config.seed)
  program = _program(
    config.vocab,
    config.image_tokens,
    config.label_rows,
    config.schedule,
    config.mesh,
  )

  def measure(model) -> dict[str, float]:
    sums = dict.fromkeys(config.sizes, 0.0)
    counts = dict.fromkeys(config.sizes, 0)
    for number, batch in enumerate(batches()):
      batch_key = jax.random.fold_in(key, _FIRST_KEY + number)
      values = processes.to_host(program(model, batch, batch_key))
      for task, (mean, count) in values.items():
        sums[task] += float(mean) * int(count)
        counts[task] += int(count)
    losses = {task: sums[task] / max(counts[task], 1) for task in sums}
    total = sum(config.weights[task] * loss for task, loss in losses.items())
    return {f'held_out/{task}': loss for task, loss in losses.items()} | {
      'held_out/total': total
    }

  return measure


@functools.lru_cache(maxsize=4)
def _program(vocab, image_tokens, label_rows, schedule, mesh):
  """Returns the jitted function to (mean loss, number of labels) by task."""

  def measure(model, batch, key):
    with sharding.use_mesh(mesh):
      rows = task_loss.prepare_batch(
        batch, key, vocab=vocab, image_tokens=image_tokens, schedule=schedule
      )
      _, losses = task_loss.loss(
        model,
        None,
        rows,
        weights=(),
        image_tokens=image_tokens,
        chunk_size=label_rows,
      )
    return {
      task: (
        losses[f'loss/{task}'],
        log_likelihood.label_counts(row.labels).sum(),
      )
      for task, (row, _) in rows.items()
    }

  return jax.jit(measure, out_shardings=sharding.replicated(mesh))


def _encoded_batches(config) -> list[dict]:
  """Returns device batches with the codes of their images."""
  most = max(
    -(-len(config.sources[task]) // size) for task, size in config.sizes.items()
  )
  count = min(config.batches, most)
  rows = {
    task: _rows(config, task, count * size)
    for task, size in config.sizes.items()
  }

  def batch(number):
    parts = {
      task: sharding.put_batch(_part(rows[task], number, size), config.mesh)
      for task, size in config.sizes.items()
    }
    return config.encode(parts)

  return [batch(number) for number in range(count)]


def _part(rows, number, size):
  """Returns batch `number` of `size` rows."""
  return jax.tree.map(lambda a: a[number * size : (number + 1) * size], rows)


def _rows(config, task, count):
  """Returns `count` rows at equal distances; pads have no labels."""
  source, transform = config.sources[task], config.transforms[task]
  examples = [
    (part, index)
    for part, examples in enumerate(source.sources)
    for index in spaced(len(examples), -(-count * len(examples) // len(source)))
  ][:count]

  def row(place):
    part, index = place
    return transform(
      source.sources[part][index], np.random.default_rng((*place, config.seed))
    )

  with futures.ThreadPoolExecutor(config.threads) as pool:
    rows = list(pool.map(row, examples))
  pad = rows[-1] | {'rows': task_rows.unscored(rows[-1]['rows'])}
  return batching.stack([*rows, *itertools.repeat(pad, count - len(rows))])


def spaced(size, count) -> Sequence[int]:
  """Returns at most `count` of `size` indices, at equal distances."""
  count = min(count, size)
  return [int((n + 0.5) * size / count) for n in range(count)]


def read_history(folder) -> list[dict]:
  """Returns the measurements of a run, sorted by step.

  Args:
    folder: folder of `metrics.jsonl`.

  Returns:
    {'step', 't2i', 'mmu', 'lm', 'total'} per measurement; a value that was not
    finite is None.
  """
  rows = {}
  with storage.open_text(storage.path(folder) / 'metrics.jsonl') as file:
    for line in map(json.loads, file):
      values = {
        name.removeprefix('held_out/'): value
        for name, value in line.items()
        if name.startswith('held_out/')
      }
      if values:
        rows[line['step']] = {'step': line['step']} | values
  return [rows[step] for step in sorted(rows)]


def best_measurement(history: Sequence[dict]) -> dict | None:
  """Returns the measurement with the lowest total; None if all are None."""
  finite = [row for row in history if row['total'] is not None]
  return min(finite, key=lambda row: row['total'], default=None)
