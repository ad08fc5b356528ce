"""Scenes of the embedded world as records with codes in place of pixels."""

import json

import numpy as np

from hermesflow_jax.data import shapes_tfds
from hermesflow_jax.evaluation import gap


def plain(value) -> str:
  """Returns text that a source gives as bytes or as str."""
  return value.decode() if isinstance(value, bytes) else str(value)


def load(
  data_dir: str, split: str, seed: int, count: int, jitter: int, unified
) -> list[dict]:
  """Generates (once) and encodes scenes of a split.

  Args:
    data_dir: where datasets are kept.
    split: a key of `shapes.SPLITS`.
    seed: of the scenes.
    count: scenes.
    jitter: in pixels.
    unified: an `inference.Unified`, for its tokenizer.

  Returns:
    Records with id, caption, tag, questions, qa and codes int32[I].
  """
  source = shapes_tfds.source(
    data_dir, shapes_tfds.config_of(split, seed, count, jitter)
  )
  rows, images = [], []
  for record in source:
    row = {k: plain(record[k]) for k in ('id', 'caption', 'tag')}
    row['questions'] = json.loads(plain(record['questions']))
    row['qa'] = json.loads(plain(record['qa']))
    rows.append(row)
    images.append(record['image'])
  codes = unified.encode(np.stack(images))
  return [row | {'codes': c} for row, c in zip(rows, codes)]


def inputs(records: list[dict]) -> gap.Inputs:
  """Returns records as the inputs of evaluation and curation, by name.

  The order of a source depends on how many records it was written with.
  """
  records = sorted(records, key=lambda record: record['id'])
  return gap.Inputs(
    ids=[r['id'] for r in records],
    captions=[r['caption'] for r in records],
    tags=[r['tag'] for r in records],
    questions=[r['questions'] for r in records],
    codes=np.stack([r['codes'] for r in records]),
  )
