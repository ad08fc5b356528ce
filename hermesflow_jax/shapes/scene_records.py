"""Loads scenes as records with image codes."""

import functools
import json

import numpy as np

from hermesflow_jax.shapes import scene_dataset


def to_plain_types(value) -> str:
  """Returns bytes or str as str."""
  return value.decode() if isinstance(value, bytes) else str(value)


def load_scenes(
  data_dir: str, split: str, seed: int, count: int, jitter: int, unified
) -> list[dict]:
  """Loads and encodes the scenes in a split; the first call generates them.

  Args:
    data_dir: dataset folder.
    split: key in `shape_world.SPLITS`.
    seed: random seed for the scenes.
    count: number of scenes.
    jitter: largest object offset, in pixels.
    unified: an `unified_model.UnifiedModel`; its tokenizer encodes.

  Returns:
    Records with id, caption, tag, questions, qa and codes int32[I]; for a model
    with a CLIP tower also `pixels`, a function that reads the image:
    () -> uint8[H, W, 3].
  """
  source = scene_dataset.data_source(
    data_dir, scene_dataset.dataset_config(split, seed, count, jitter)
  )
  rows, images = [], []
  for record in source:
    row = {k: to_plain_types(record[k]) for k in ('id', 'caption', 'tag')}
    row['questions'] = json.loads(to_plain_types(record['questions']))
    row['qa'] = json.loads(to_plain_types(record['qa']))
    rows.append(row)
    images.append(record['image'])
  codes = unified.encode(np.stack(images))
  if unified.vision is not None:
    for number, row in enumerate(rows):
      row['pixels'] = functools.partial(_read_image, source, number)
  return [row | {'codes': c} for row, c in zip(rows, codes)]


def _read_image(source, number: int) -> np.ndarray:
  return source[number]['image']
