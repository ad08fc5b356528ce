"""Hashes of tokenizers, which image codes and token ids depend on."""

from __future__ import annotations

import functools
import hashlib
import json

import jax
import numpy as np

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding

with lazy_modules.on_first_use():
  from hermesflow_jax.models import magvit
  from hermesflow_jax.sequences import text_tokenizer


def image_hash(tokenizer: magvit.Magvit) -> str:
  """Returns a SHA-256 over the weights of an image tokenizer.

  All processes call it. Weights count as float32, in any folder and file form.

  Args:
    tokenizer: the image tokenizer.
  """
  leaves, _ = jax.tree_util.tree_flatten_with_path(processes.to_host(tokenizer))
  sha256 = hashlib.sha256()
  for path, leaf in leaves:
    array = np.ascontiguousarray(leaf, np.float32)
    sha256.update(f'{sharding.path_name(path)} {array.shape}'.encode())
    sha256.update(array)
  return sha256.hexdigest()


def text_hash(text: text_tokenizer.TextTokenizer) -> str:
  """Returns the SHA-256 of a text tokenizer's vocabulary and merges.

  Args:
    text: the text tokenizer.
  """
  return _content_hash(text.content)


@functools.lru_cache(maxsize=4)
def _content_hash(content: str) -> str:
  model = json.loads(content)['model']
  return hashlib.sha256(json.dumps(model).encode()).hexdigest()


def hashes_of(parts) -> dict[str, str]:
  """Returns the hashes of both tokenizers by 'image' and 'text'.

  Args:
    parts: a `model_bundle.Bundle` or a `unified_model.UnifiedModel`.
  """
  return {'image': image_hash(parts.tokenizer), 'text': text_hash(parts.text)}
