"""Image that `generate` starts from, with its mask."""

from __future__ import annotations

import numpy as np

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import storage

with lazy_modules.on_first_use():
  from hermesflow_jax.data import image_reader
  from hermesflow_jax.data import input_faults
  from hermesflow_jax.jobs.setup import prompt_list
  from hermesflow_jax.sampling import inpainting
  from hermesflow_jax.sampling import unified_model

# Side of images that are only checked, in pixels.
_CHECKED_SIZE = 16


def file_hashes(config) -> dict:
  """Returns the user's files as SHA-256, and the image reader's version.

  Args:
    config: settings of `generate`.
  """
  names = [name for name in ('image', 'mask', 'file') if getattr(config, name)]
  hashes = {
    name: prompt_list.file_hash(getattr(config, name)) for name in names
  }
  if config.image:
    hashes['pixels'] = image_reader.VERSION
  return hashes


def list_faults(config) -> list[str]:
  """Returns the faults of the image and its mask, which need no model.

  Args:
    config: settings of `generate`.
  """
  faults = []
  for name in (config.image, config.mask):
    if name:
      input_faults.attempt(
        faults, image_reader.load_image, storage.path(name), _CHECKED_SIZE
      )
  if config.mask and not faults:
    input_faults.attempt(
      faults,
      image_reader.load_mask,
      storage.path(config.mask),
      storage.path(config.image),
      _CHECKED_SIZE,
    )
  return faults


def starting_codes(
  config, unified: unified_model.UnifiedModel
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the codes to start from.

  Args:
    config: settings of `generate`.
    unified: model whose tokenizer encodes the image.

  Returns:
    codes: int32[h, w], image codes.
    known: bool[h, w], true for codes to keep; false everywhere without image.

  Raises:
    ValueError: the image or the mask cannot be read, or their sizes differ.
  """
  grid = unified.grid
  if not config.image:
    return np.zeros(grid, np.int32), np.zeros(grid, bool)
  size = grid[0] * unified.tokenizer.reduction
  pixels = image_reader.load_image(storage.path(config.image), size)
  codes = unified.encode(pixels[None])[0].reshape(grid)
  known = np.ones(grid, bool)
  if config.mask:
    mask = image_reader.load_mask(
      storage.path(config.mask), storage.path(config.image), size
    )
    known = ~inpainting.masked_codes(mask, grid)
    if known.all():
      raise ValueError(
        'mask must be white where the image is drawn anew, got '
        f'{config.mask}, which has no white'
      )
  return codes, known
