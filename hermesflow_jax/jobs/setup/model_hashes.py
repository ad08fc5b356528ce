"""Hashes of the model that a job starts from; no weight is read."""

from __future__ import annotations

import pathlib

import tokenizers

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
  if content := _text_content(config, path):
    return tokenizer_hashes.content_hash(content)
  return tokenizer_hashes.text_hash(_read_text(config, path))


def answer_encoding(
  config: job_model.ModelSettings, path: pathlib.PurePath
) -> dict[str, str]:
  """Returns `job_model.answer_encoding` of the model's text tokenizer.

  Args:
    config: job settings.
    path: model folder, from `job_model.locate`.

  Raises:
    ValueError: the tokenizer cannot be read.
  """
  content = _text_content(config, path)
  if not content:
    return job_model.answer_encoding(_read_text(config, path).encode)
  text = tokenizers.Tokenizer.from_str(content)

  def encode(texts):
    rows = text.encode_batch(texts, add_special_tokens=False)
    return [row.ids for row in rows]

  return job_model.answer_encoding(encode)


def _text_content(config, path):
  """Returns the file of a bundle's text tokenizer; None if there is none."""
  if part_checks.exists(config.text):
    return None
  return initial_model.open(path).text_content()


def _read_text(config, path):
  """Returns the text tokenizer; this imports transformers."""
  return initial_model.open(path).load_text(config.sizes, config.text)[0]
