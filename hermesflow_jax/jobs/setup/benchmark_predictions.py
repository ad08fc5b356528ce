"""Predictions of a model on benchmarks: replies, and drawings with answers.

Finished batches stay in files, so that a stop costs at most a batch.
"""

from collections.abc import Sequence
import dataclasses
import functools
import itertools
import pathlib

import numpy as np

from hermesflow_jax.benchmarks import answer_names
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import image_writer
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.jobs.setup import drawing_answers
from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sampling import unified_model

# Images per batch.
GROUP = 256


@dataclasses.dataclass(frozen=True)
class Predictor:
  """Predicts the rows of benchmarks by a model.

  Attributes:
    unified: the model.
    answers: answers questions about drawings; its judge may be None if there
      are no questions.
    sampler: image sampler.
    seed: random seed of drawings.
    console: prints progress.
    search: search for each drawing.
    counts_passes: whether decoder passes are written also where each step of
      the sampler costs the same.
  """

  unified: unified_model.UnifiedModel
  answers: drawing_answers.DrawingAnswers
  sampler: maskgit.MaskGITSampler
  seed: int
  console: terminal.Console
  search: search_settings.Search = search_settings.Search()
  counts_passes: bool = False

  def predict(
    self, entry: benchmark_sets.BenchmarkSet, folder: pathlib.PurePath
  ) -> None:
    """Predicts all rows and writes `predictions.jsonl`; all processes call it.

    Args:
      entry: benchmark with its rows.
      folder: folder of this model and this benchmark. Drawings are in `images`
        below it.
    """
    target = folder / 'predictions.jsonl'
    batches = _batches(entry)
    function = self._ask if entry.asks else self._draw
    name = f'{folder.parent.name}: {entry.benchmark.name}'
    progress = terminal.weighted_progress(
      self.console.progress(name), batches, list(map(len, batches))
    )
    texts = []
    for number, rows in enumerate(progress):
      part = storage.path(folder) / 'parts' / f'{number:06d}.jsonl'
      if not processes.broadcast_from_first(
        functools.partial(_is_complete, part, rows, folder)
      ):
        lines = function(entry.benchmark, rows, folder)
        output_files.write_atomically(
          part, job_results.unicode_json_lines(lines)
        )
      if processes.is_first():
        texts.append(part.read_bytes().decode())
    output_files.write_atomically(target, ''.join(texts))
    # The other processes read these files, too.
    processes.barrier()

  def _ask(self, benchmark, rows, folder) -> list[dict]:
    """Returns a record with a reply for each question."""
    del benchmark, folder
    size = vision_tower.image_size(self.unified)
    by_image = {}
    for row in rows:
      by_image.setdefault(str(row.image), []).append(row)
    pixels = np.stack(
      [
        image_reader.load_image(group[0].image, size)
        for group in by_image.values()
      ]
    )
    codes = vision_tower.to_read(self.unified, pixels)
    faults = {
      row.id: drawing_answers.fault_of(self.unified, {'question': row.prompt})
      for row in rows
    }
    replies = self.unified.answerer.reply(
      codes,
      [
        [row.prompt for row in group if not faults[row.id]]
        for group in by_image.values()
      ],
    )
    texts = {}
    for group, answers in zip(by_image.values(), replies, strict=True):
      valid = [row for row in group if not faults[row.id]]
      texts |= {
        row.id: reply for row, reply in zip(valid, answers, strict=True)
      }
    return [
      {'id': row.id, 'prompt': row.prompt, 'reply': texts.get(row.id, '')}
      | ({'fault': faults[row.id]} if faults[row.id] else {})
      for row in rows
    ]

  def _draw(self, benchmark, rows, folder) -> list[dict]:
    """Draws the images of prompts; returns a record with answers for each."""
    count = len(rows[0].files)
    codes, passes = search.draw(
      self.unified,
      [row.id for row in rows],
      [row.prompt for row in rows],
      count,
      self.sampler,
      self.seed,
      self.search,
      [[dict(q) for q in row.questions] for row in rows],
    )
    if passes is None and self.counts_passes:
      cost = search_settings.step_passes(self.sampler.guided_steps(), count)
      passes = np.full((len(rows), count), cost)
    codes = codes.reshape(len(rows) * count, -1)
    pixels = self.unified.decode(codes)
    owners = [(row, file) for row in rows for file in row.files]
    for (row, file), image in zip(owners, pixels, strict=True):
      facts = {'prompt': row.prompt, 'seed': self.seed}
      image_writer.save_png(folder / 'images' / file, image, facts)
    for row, images in zip(
      rows, pixels.reshape(len(rows), count, *pixels.shape[1:]), strict=True
    ):
      if row.grid:
        image_writer.save_png(
          folder / 'images' / row.grid, _grid(images), {'prompt': row.prompt}
        )
    records = self.answers.records(benchmark, [row for row, _ in owners], codes)
    if passes is not None:
      for record, number in zip(records, passes.reshape(-1), strict=True):
        record['decoder_passes'] = float(number)
    return [
      {'id': row.id, 'prompt': row.prompt, 'file': file} | record
      for (row, file), record in zip(owners, records, strict=True)
    ]


def _grid(images: np.ndarray) -> np.ndarray:
  """Returns images uint8[N, H, W, 3] as a grid with two a row."""
  rows = [
    np.concatenate(images[i : i + 2], 1) for i in range(0, len(images), 2)
  ]
  return np.concatenate(rows, 0)


def read_replies(folder: pathlib.PurePath) -> dict[str, str]:
  """Returns the replies that `Predictor.predict` wrote, by id.

  Args:
    folder: folder of a model and a benchmark.
  """
  rows = job_start.read_results(storage.path(folder) / 'predictions.jsonl')
  return {row['id']: row['reply'] for row in rows}


def mean_passes(folder: pathlib.PurePath) -> float | None:
  """Returns the mean decoder passes per drawing; None if not counted.

  Args:
    folder: folder of a model and a benchmark.
  """
  rows = job_start.read_results(storage.path(folder) / 'predictions.jsonl')
  passes = [row['decoder_passes'] for row in rows if 'decoder_passes' in row]
  return float(np.mean(passes)) if passes else None


def read_answers(folder: pathlib.PurePath) -> dict[str, dict]:
  """Returns answers about images, see `protocol.DrawingBenchmark.score`.

  Args:
    folder: folder of a model and a benchmark.
  """
  rows = job_start.read_results(storage.path(folder) / 'predictions.jsonl')
  answers = {}
  for row in rows:
    file = row['file']
    answers[file] = dict(row['answers'])
    for key, name in (
      ('real', answer_names.real_image(file)),
      ('own', answer_names.own_answers(file)),
    ):
      if key in row:
        answers[name] = row[key]
    answers[file] |= {
      answer_names.probability(question): value
      for question, value in row.get('probabilities', {}).items()
    }
  return answers


def _batches(entry) -> list[Sequence]:
  """Divides rows; the questions about an image stay together.

  Rows with the same number of drawings stay together.
  """
  groups = {}
  for row in entry.rows:
    key = str(row.image) if entry.asks else len(row.files)
    groups.setdefault(key, []).append(row)
  if entry.asks:
    listed = list(groups.values())
    return [
      list(itertools.chain(*listed[i : i + GROUP]))
      for i in range(0, len(listed), GROUP)
    ]
  batches = []
  for count, rows in groups.items():
    size = max(1, GROUP // count)
    batches += [rows[i : i + size] for i in range(0, len(rows), size)]
  return batches


def _is_complete(part, rows: Sequence, folder) -> bool:
  """Returns whether a batch is in its file, and its drawings exist."""
  if isinstance(rows[0], protocol.ImageQuestion):
    return job_start.has_rows(part, len(rows), _has_replies)
  drawings = [file for row in rows for file in row.files]
  files = drawings + [row.grid for row in rows if row.grid]
  if not job_start.has_rows(part, len(drawings), _has_answers):
    return False
  images = storage.path(folder) / 'images'
  return all(image_writer.is_complete(images / file) for file in files)


def _has_replies(rows) -> bool:
  return all(
    isinstance(row.get('id'), str) and isinstance(row.get('reply'), str)
    for row in rows
  )


def _has_answers(rows) -> bool:
  return all(
    isinstance(row.get('file'), str) and isinstance(row.get('answers'), dict)
    for row in rows
  )
