"""Checks of a model's parts against a job's settings."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import text_tokenizer

with lazy_modules.on_first_use():
  from hermesflow_jax.models import magvit

# Endings of PyTorch weights.
_PYTORCH = ('.bin', '.ckpt', '.pt', '.pth', '.safetensors')


def exists(path: str) -> bool:
  """Returns whether a setting names a path that exists.

  All processes call it, and get the answer of the first.
  """
  return bool(path) and processes.broadcast_from_first(
    storage.path(path).exists
  )


def check_sizes(source: str, *rows: tuple[str, Any, Any]) -> None:
  """Checks that sizes are as expected.

  Args:
    source: folder that the sizes come from.
    *rows: (name, value, expected value). Configs of modules may differ in how
      a model is computed.

  Raises:
    ValueError: lists every value, or field of a config, that differs.
  """
  faults = [
    f'{name} of {source} must be {expected}, got {value}'
    for row in rows
    for name, value, expected in _differences(*row)
  ]
  if faults:
    raise ValueError('; '.join(faults))


def check_image_tokenizer(
  model_path: str, own: magvit.Magvit, path: str, other: magvit.Magvit
) -> None:
  """Checks that an image tokenizer is that of a model.

  Args:
    model_path: model folder.
    own: the model's image tokenizer.
    path: the other image tokenizer's folder.
    other: the other image tokenizer.

  Raises:
    ValueError: sizes or weights differ.
  """
  if other.config != own.config or (
    fingerprints.fingerprint(other) != fingerprints.fingerprint(own)
  ):
    raise ValueError(
      f'tokenizer must be the image tokenizer of {model_path}, got {path}, '
      'which has other weights; give --config.tokenizer= to use that of the '
      'model'
    )


def check_text_tokenizer(
  model_path: str,
  own: text_tokenizer.TextTokenizer,
  path: str,
  other: text_tokenizer.TextTokenizer,
) -> None:
  """Checks that a text tokenizer is that of a model.

  Args:
    model_path: model folder.
    own: the model's text tokenizer.
    path: the other text tokenizer's folder or file.
    other: the other text tokenizer.

  Raises:
    ValueError: tokens, merges or the end of a text differ.
  """
  same_ids = (other.size, other.eos) == (own.size, own.eos)
  if not same_ids or not _same_tokens(own, other):
    raise ValueError(
      f'text must be the text tokenizer of {model_path}, got {path}, which has '
      'other tokens; give --config.text= to use that of the model'
    )


def _differences(name, value, expected):
  """Yields (name, value, expected value) of what differs."""
  if not dataclasses.is_dataclass(value):
    if value != expected:
      yield name, value, expected
    return
  values, expected = map(identities.model_identity, (value, expected))
  for field in values:
    if values[field] != expected[field]:
      yield f'{name}.{field}', values[field], expected[field]


def _same_tokens(a, b):
  """Returns whether text tokenizers have equal vocabularies and merges."""
  if a.content == b.content:
    return True
  return json.loads(a.content)['model'] == json.loads(b.content)['model']


def holds_pytorch(path: str) -> bool:
  """Returns whether a folder or file holds PyTorch weights, and no bundle."""
  names = [path, *storage.list_names(storage.path(path))]
  if {'tokenizer.safetensors', 'text.json'} & set(names):
    return False  # A damaged bundle.
  return any(name.endswith(_PYTORCH) for name in names)
