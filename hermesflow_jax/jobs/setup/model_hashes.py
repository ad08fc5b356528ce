"""Hashes of the model that a job starts from; no weight is read."""

from __future__ import annotations

import pathlib

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import part_checks
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import tokenizer_hashes
from hermesflow_jax.jobs.setup import vision_tower


def weight_hashes(
  config: job_model.ModelSettings, path: pathlib.PurePath
) -> dict:
  """Returns hashes of all weights that `job_model.load_parts` reads, by name.

  Args:
    config: job settings.
    path: model folder, from `job_model.locate`.
  """
  hashes = dict(initial_model.open(path).weight_hashes(config.tokenizer))
  hashes |= vision_tower.hashes(config)
  if config.adapters:
    adapters = str(run_folder.newest_adapters(config.adapters))
    hashes |= {
      f'adapters/{name}': value
      for name, value in checkpoint.array_hashes(adapters).items()
    }
  return hashes


def text_hash(config: job_model.ModelSettings, path: pathlib.PurePath) -> str:
  """Returns the hash of the text tokenizer that `job_model.load_parts` reads.

  It equals `tokenizer_hashes.text_hash`. For a bundle it is read without
  transformers, which take a third of a second to import.

  Args:
    config: job settings.
    path: model folder, from `job_model.locate`.

  Raises:
    ValueError: the tokenizer cannot be read.
  """
  folder = initial_model.open(path)
  if not part_checks.exists(config.text) and (content := folder.text_content()):
    return tokenizer_hashes.content_hash(content)
  return tokenizer_hashes.text_hash(
    folder.load_text(config.sizes, config.text)[0]
  )
