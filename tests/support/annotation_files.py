"""Annotation files of scenes, with their images, for tests of inputs."""

import dataclasses
import json

import numpy as np
from PIL import Image

from hermesflow_jax.data import record_files
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler


def line(number, **changes):
  """Returns an annotation of a scene."""
  scene = scene_sampler.sample_scene('eval', 0, number)
  name = f'scene-{number}'
  return {
    'id': name,
    'img_path': f'{name}.png',
    'caption': scene.caption,
    'questions': caption_questions.questions_of_caption(name, scene.caption),
  } | changes


def written(root, rows):
  """Writes annotations and the images of the first eight scenes."""
  for number in range(8):
    picture = drawing.render(scene_sampler.sample_scene('eval', 0, number))
    Image.fromarray(picture).save(root / f'scene-{number}.png')
  path = root / 'a.jsonl'
  path.write_text(
    ''.join(
      (row if isinstance(row, str) else json.dumps(row)) + '\n' for row in rows
    )
  )
  return record_files.Source(annotations=str(path), images=str(root))


class Encoder:
  """An encoder whose codes differ between images; it counts its calls."""

  calls = 0

  def encode(self, images):
    self.calls += 1
    return images.reshape(len(images), -1).sum(-1, dtype=np.int32)[:, None]


def skipping(root, rows):
  """Like `written`, with faults skipped."""
  return dataclasses.replace(written(root, rows), on_error='skip')


def carried(bucket, root, source):
  """Puts the files of a source into a bucket; returns the new source."""
  bucket.put_folder('data', root)
  name = source.annotations.rpartition('/')[2]
  return dataclasses.replace(
    source, annotations=f'gs://bucket/data/{name}', images='gs://bucket/data'
  )
