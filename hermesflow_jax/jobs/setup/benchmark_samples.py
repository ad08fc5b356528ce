"""Rows of a benchmark to look at: right and wrong replies, and drawings."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import numpy as np
from PIL import Image

from hermesflow_jax.data import image_reader
from hermesflow_jax.jobs.setup import benchmark_predictions
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.reports import evaluation_page
from hermesflow_jax.runtime import storage

# Rows of each kind, side of an image in pixels, and answers of a drawing.
_COUNT, _SIDE, _ANSWERS = 4, 192, 6


def choose(
  entry: benchmark_sets.BenchmarkSet, folders: Mapping[str, pathlib.PurePath]
) -> list[evaluation_page.Sample]:
  """Returns rows at equal distances, right and wrong ones of the last model.

  Args:
    entry: the benchmark with its rows.
    folders: folder of the predictions, by name of the model.
  """
  if entry.asks:
    return _questions(entry, folders)
  return _drawings(entry, folders)


def _questions(entry, folders) -> list[evaluation_page.Sample]:
  replies = {
    name: benchmark_predictions.read_replies(folder)
    for name, folder in folders.items()
  }
  values = {}
  for name, own in replies.items():
    words = {key: entry.reply_words.get(t.strip(), t) for key, t in own.items()}
    scores = entry.benchmark.score(entry.rows, words)
    values[name] = scores[0].rows if scores else {}
  last = list(values.values())[-1]
  middle = np.mean(list(last.values())) if last else 0
  groups = {
    'lower score': [r for r in entry.rows if last.get(r.id, 0) < middle],
    'higher score': [r for r in entry.rows if last.get(r.id, 0) >= middle],
  }
  if set(last.values()) <= {0, 1}:
    groups = {
      'wrong': [r for r in entry.rows if not last.get(r.id)],
      'right': [r for r in entry.rows if last.get(r.id)],
    }
  samples = []
  for title, rows in groups.items():
    for row in _spread(rows):
      lines = [
        (
          name,
          own.get(row.id) or '(empty)',
          bool(values[name].get(row.id))
          if title in ('right', 'wrong')
          else None,
        )
        for name, own in replies.items()
      ]
      pixels = image_reader.load_image(row.image, _SIDE)
      samples.append(
        evaluation_page.Sample(title, row.prompt, [(pixels, '')], lines)
      )
  return samples


def _drawings(entry, folders) -> list[evaluation_page.Sample]:
  answers = {
    name: benchmark_predictions.read_answers(folder)
    for name, folder in folders.items()
  }
  samples = []
  for row in _spread(entry.rows, 2 * _COUNT):
    file = row.files[0]
    images = [
      (_thumbnail(storage.path(folder) / 'images' / file), name)
      for name, folder in folders.items()
    ]
    lines = [
      (
        f'{name}, {question["question"]}',
        own.get(file, {}).get(question['id'], '') or '(no answer)',
        own.get(file, {}).get(question['id']) == question['answer'],
      )
      for name, own in answers.items()
      for question in row.questions[:_ANSWERS]
    ]
    samples.append(evaluation_page.Sample('', row.prompt, images, lines))
  return samples


def _spread(rows: Sequence, count: int = _COUNT) -> list:
  """Returns rows at equal distances."""
  count = min(count, len(rows))
  return [rows[n * len(rows) // count] for n in range(count)]


def _thumbnail(path) -> np.ndarray:
  with Image.open(path) as image:
    image.thumbnail((_SIDE, _SIDE))
    return np.asarray(image.convert('RGB'))
