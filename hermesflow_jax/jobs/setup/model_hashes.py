"""Hashes of the model that a job starts from; no weight is read."""

from __future__ import annotations

import dataclasses
import pathlib

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import tokenizer_hashes
from hermesflow_jax.jobs.setup import vision_tower
from hermesflow_jax.sequences import text_tokenizer


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


@dataclasses.dataclass(frozen=True)
class TextIdentity:
  """What identifies the text tokenizer of a run.

  Attributes:
    sha256: see `tokenizer_hashes.text_hash`.
    choices: how choices are encoded, where earlier releases did otherwise; {}
      if they did the same. They encoded a choice without the space before it,
      which gives other tokens in a byte-level BPE: their answers, and the
      pairs that they chose by answers, are wrong.
  """

  sha256: str
  choices: dict[str, str]


def text_identity(
  config: job_model.ModelSettings, path: pathlib.PurePath
) -> TextIdentity:
  """Returns `identity_of_text` of the tokenizer that `load_parts` reads.

  All processes call it.

  Args:
    config: job settings.
    path: model folder, from `job_model.locate`.

  Raises:
    ValueError: the tokenizer cannot be read, or see `identity_of_text`.
  """
  folder = initial_model.open(path)
  return identity_of_text(folder.load_text(config.sizes, config.text)[0])


def identity_of_text(text: text_tokenizer.TextTokenizer) -> TextIdentity:
  """Returns what identifies a text tokenizer.

  Args:
    text: the text tokenizer.

  Raises:
    ValueError: it merges the end of a prompt with a reply.
  """
  word = 'red'
  choices = {}
  if text.encode_replies([word]) != text.encode([word]):
    choices = {'answers': 'choices are encoded as they follow the prompt'}
  return TextIdentity(tokenizer_hashes.text_hash(text), choices)
