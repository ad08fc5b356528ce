"""The CLIP tower of a Show-o variant: checked, hashed and read.

The variant `w_clip_vit` reads CLIP features in place of image codes.
"""

from __future__ import annotations

import jax
import numpy as np

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import checkpoint
  from hermesflow_jax.checkpoints import converted_model
  from hermesflow_jax.models import showo
  from hermesflow_jax.sampling import unified_model

KIND = 'clip_vision'
SOURCE = 'openai/clip-vit-large-patch14-336'
_FOLDER = 'checkpoints/clip-vit-large-patch14-336'


def check(config, path: str, model: showo.ShowOConfig) -> None:
  """Checks that a job can feed what its model reads; all processes call it.

  Args:
    config: job settings; without `vision`, the job feeds no features. Such a
      job takes the model only if it reads no image (`reads_images`).
    path: folder of the model.
    model: sizes of the model.

  Raises:
    ValueError: the one-line message has the command that converts the tower.
  """
  vision, width = getattr(config, 'vision', None), model.clip_width
  if not width:
    if vision:
      raise ValueError(
        f"vision must be '' for {path}, which reads image codes, got {vision!r}"
      )
    return
  if not getattr(config, 'reads_images', True):
    return
  reads = f'{path}, which reads CLIP features (clip_width {width})'
  if vision is None:
    raise ValueError(
      f'init_from must be a Show-o that reads image codes, got {reads}: '
      'understand, curate, learn, pair_dpo, evaluate and serve feed these, '
      'generate needs none; take a checkpoint without w_clip_vit'
    )
  exists = vision and processes.broadcast_from_first(
    lambda: checkpoint.is_checkpoint(vision)
  )
  if not exists:
    raise ValueError(
      f'vision must be the CLIP tower of {reads}, got {vision!r}; run `python '
      f'-m conversions.convert {KIND} {SOURCE} {_FOLDER}`, then give '
      f'--config.vision={_FOLDER}'
    )
  record = converted_model.read_record(vision, KIND)
  if record.sizes.width != width:
    raise ValueError(
      f'vision must have width {width} for {path}, got {record.sizes.width} in '
      f'{vision}; give the tower that the model was trained with'
    )


def hashes(config) -> dict[str, str]:
  """Returns the hashes of the tower's weights, by name; {} without a tower.

  Args:
    config: job settings.
  """
  if not getattr(config, 'vision', ''):
    return {}
  record = converted_model.read_record(config.vision, KIND)
  return {f'vision/{name}': value for name, value in record.sha256.items()}


def load(config, mesh):
  """Reads the tower onto a mesh; returns a `clip.Clip`, or None without one.

  Args:
    config: job settings.
    mesh: device mesh; each device gets all weights.
  """
  if not getattr(config, 'vision', ''):
    return None
  record = converted_model.read_record(config.vision, KIND)
  tower = converted_model.restore_model(config.vision, record, mesh)
  return jax.device_put(tower, sharding.replicated(mesh))


def image_size(unified: unified_model.UnifiedModel) -> int:
  """Returns the side of the images that a model reads, in pixels."""
  return pixel_size(unified) or unified.grid[0] * unified.tokenizer.reduction


def pixel_size(unified: unified_model.UnifiedModel) -> int:
  """Returns the side of the pixels that a model reads; 0 if it reads codes."""
  return 0 if unified.vision is None else unified.vision.config.image


def to_read(
  unified: unified_model.UnifiedModel, pixels: np.ndarray
) -> np.ndarray:
  """Returns images in the form that a model reads: pixels, or codes.

  Args:
    unified: the model.
    pixels: uint8[N, side, side, 3], with `image_size`.
  """
  return pixels if unified.vision is not None else unified.encode(pixels)
