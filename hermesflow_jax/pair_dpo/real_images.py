"""Real images of records, for a model that reads CLIP features of pixels.

The CLIP tower is frozen, as in Show-o: the projector learns, not the tower.
Features take 7 times the space of pixels, so each step computes those of its
records from pixels, once for policy and reference, in a few percent of its
time.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from hermesflow_jax.data import lazy_images
from hermesflow_jax.models import clip_pixels
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.training import train_step


def with_pixels(
  transform: Callable,
  records: Sequence[dict],
  images: lazy_images.LazyImages | None,
) -> Callable:
  """Returns a transform whose rows also have `pixels` uint8[H, W, 3].

  Args:
    transform: from `record_rows.make_transform`.
    records: N records with different ids.
    images: N real images; None returns `transform`.
  """
  if images is None:
    return transform
  places = disk_names.places(record['id'] for record in records)

  def make_row(record, rng):
    image = images[[places[record['id']]]]
    return transform(record, rng) | {'pixels': np.asarray(image)[0]}

  return make_row


def add_features(tower, packed, pixels):
  """Returns rows with the CLIP features of their images.

  Args:
    tower: a `clip.Clip`.
    packed: a `packing.PackedRecord` of B records, or `answer_rows.AnswerRows`
      of B questions, without features.
    pixels: uint8[B, H, W, 3].
  """
  features = clip_pixels.read_features(tower, pixels)
  return dataclasses.replace(packed, features=features)


def with_tower(loss: Callable, constants, tower) -> tuple[Callable, Any]:
  """Returns the loss of rows from `with_pixels`, and its constants.

  Args:
    loss: (model, constants, batch, key) -> (scalar, metrics), of rows with
      features.
    constants: its constants.
    tower: a `clip.Clip`; None returns `loss` and `constants`.
  """
  if tower is None:
    return loss, constants
  return train_step.hashable_partial(_loss_of_pixels, loss=loss), (
    constants,
    tower,
  )


def _loss_of_pixels(model, constants, batch, key, *, loss):
  constants, tower = constants
  batch = dict(batch)
  pixels = batch.pop('pixels')
  batch['packed'] = add_features(tower, batch['packed'], pixels)
  if 'answers' in batch:
    answers = dict(batch['answers'])
    pixels = answers.pop('pixels')
    answers['rows'] = add_features(tower, answers['rows'], pixels)
    batch['answers'] = answers
  return loss(model, constants, batch, key)
