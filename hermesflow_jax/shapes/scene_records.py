"""Loads scenes: as records with image codes, or crowded scenes as images."""

from collections.abc import Sequence
import functools
import json

import numpy as np

from hermesflow_jax.runtime import batching
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.shapes import shape_world


def to_plain_types(value) -> str:
  """Returns bytes or str as str."""
  return value.decode() if isinstance(value, bytes) else str(value)


def load_scenes(
  data_dir: str, split: str, seed: int, count: int, jitter: int, unified
) -> Sequence[dict]:
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
    () -> uint8[H, W, 3]. The texts of many lie in a file.
  """
  # With tensorflow_datasets.
  from hermesflow_jax.shapes import scene_dataset

  source = scene_dataset.data_source(
    data_dir, scene_dataset.dataset_config(split, seed, count, jitter)
  )
  texts = disk_objects.Store()

  def read_images(index):
    """Reads a batch of images, and keeps their texts."""
    images = {}
    for number in index.tolist():
      if number not in images:
        record = source[number]
        images[number] = record['image']
        # Scenes are read in their order; some again, to fill up a batch.
        if number == len(texts):
          texts.add(_texts(record))
    return np.stack([images[number] for number in index.tolist()])

  # Memory holds the images of few batches.
  codes = unified.encode(batching.BuiltRows(len(source), read_images))

  # Other processes may have read some.
  for number in range(len(texts), len(source)):
    texts.add(_texts(source[number]))
  rows = texts.values()

  def with_codes(number):
    row = rows[number] | {'codes': codes[number]}
    if unified.vision is not None:
      row['pixels'] = functools.partial(_read_image, source, number)
    return row

  return disk_objects.few_as_list(
    disk_objects.Computed(len(source), with_codes)
  )


def _texts(record) -> dict:
  """Returns the fields of a scene but its image."""
  row = {k: to_plain_types(record[k]) for k in ('id', 'caption', 'tag')}
  return row | {
    k: json.loads(to_plain_types(record[k])) for k in ('questions', 'qa')
  }


def _read_image(source, number: int) -> np.ndarray:
  return source[number]['image']


def crowded_scenes(data_dir: str, world: shape_world.World, count: int):
  """Loads crowded scenes, which have no caption; the first call generates them.

  Args:
    data_dir: dataset folder.
    world: seed and jitter of the scenes.
    count: number of scenes.

  Returns:
    Random-access records with `image`, uint8[H, W, 3].
  """
  # With tensorflow_datasets.
  from hermesflow_jax.shapes import scene_dataset

  return scene_dataset.data_source(
    data_dir,
    scene_dataset.dataset_config(
      'train', world.seed, count, world.jitter, crowded=True
    ),
  )
