"""Functions and longest batches for learning steps, on pairs and on groups."""

import dataclasses

import numpy as np

from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.pair_dpo import group_data
from hermesflow_jax.pair_dpo import group_rows
from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import pair_data
from hermesflow_jax.runtime import batching
from hermesflow_jax.training import train_step

# Tokens of a prompt.
_PROMPT = 16


@dataclasses.dataclass(frozen=True)
class StepInputs:
  """What `programs.pair_dpo_step` compiles.

  Attributes:
    loss, prepare: see `train_step.make_step`.
    parts: see `train_step.make_step`.
    batch: longest records, numpy arrays.
    labels: the most labels in a packed row.
    unit: 'pairs' or 'groups'.
  """

  loss: train_step.HashablePartial
  prepare: train_step.HashablePartial
  parts: int
  batch: dict
  labels: int
  unit: str


def of_pairs(
  sizes: model_folder.Sizes,
  config: learning_config.LearningConfig,
  image_tokens: int,
) -> StepInputs:
  """Returns the step for a method on pairs.

  Args:
    sizes: model, row and image sizes.
    config: objective and batch.
    image_tokens: I, codes per image.
  """
  objective = config.objective
  row = {
    'packed': _longest_record(sizes, image_tokens, 2, 2),
    'gen_valid': np.array(True),
    'und_valid': np.array(True),
    'reference_mmu': np.zeros(2, np.float32),
  }
  if objective.fixed_masks:
    row['masked'] = np.zeros((objective.masks, image_tokens), bool)
    row['reference_t2i'] = np.zeros(2, np.float32)
  loss, prepare = pair_data.step_functions(
    config, sizes.lengths.reply, image_tokens
  )
  labels = packing.max_labels(
    image_tokens, objective.masks, _packed_lengths(sizes)
  )
  batch = batching.stack([row] * config.batch)
  return StepInputs(loss, prepare, 1, batch, labels, 'pairs')


def of_groups(
  sizes: model_folder.Sizes,
  config: learning_config.LearningConfig,
  image_tokens: int,
  reference: str,
  images: int,
  captions: int,
) -> StepInputs:
  """Returns the step for method grpo.

  Args:
    sizes: model, row and image sizes.
    config: objective and batch.
    image_tokens: I, codes per image.
    reference: frozen reference model, 'round' or 'base'.
    images: K, images per group, of which `group_images` are learned from.
    captions: M, captions per group.
  """
  objective, reply = config.objective, sizes.lengths.reply
  frozen = group_rows.FROZEN[: 2 if reference == 'base' else 1]
  images = min(images, objective.group_images or images)
  layout = group_rows.layout_of(
    images * objective.learns_images,
    captions * objective.learns_captions,
    objective.group_part,
  )
  images, captions = layout.rows * layout.images, layout.rows * layout.captions
  row = {'packed': _longest_record(sizes, image_tokens, images, captions)}
  if images:
    row[group_rows.IMAGES] = _group(images)
    if objective.fixed_masks:
      scores = images, objective.masks, image_tokens + 2
      row[group_rows.IMAGES] |= {
        name: np.zeros(scores, np.float32) for name in frozen
      }
      row['masked'] = np.zeros((objective.masks, image_tokens), bool)
  if captions:
    scores = np.zeros((captions, reply), np.float32)
    row[group_rows.CAPTIONS] = _group(captions) | dict.fromkeys(frozen, scores)
  loss, prepare = group_data.step_functions(config, layout, image_tokens)
  labels = packing.max_labels(
    image_tokens,
    objective.masks,
    _packed_lengths(sizes),
    layout.images,
    layout.captions,
  )
  batch = batching.stack([row] * config.batch)
  return StepInputs(loss, prepare, layout.rows, batch, labels, 'groups')


def _group(size: int) -> dict:
  ones = np.ones(size, np.float32)
  return {'valid': np.array(True), 'rewards': ones, 'counts': ones}


def _packed_lengths(sizes) -> packing.PackedLengths:
  return packing.PackedLengths(sizes.lengths.max_text + 1, sizes.lengths.reply)


def _longest_record(sizes, image_tokens, images, captions):
  """Returns a `packing.PackedRecord` without pads."""
  lengths = sizes.lengths
  return packing.pack_record(
    sizes.vocab,
    [1] * lengths.max_text,
    np.zeros((images, image_tokens), np.int32),
    np.zeros(image_tokens, np.int32),
    [1] * _PROMPT,
    [[1] * lengths.reply] * captions,
    lengths.max_text,
    _packed_lengths(sizes),
  )
