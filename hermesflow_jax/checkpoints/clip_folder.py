"""Converted CLIP models, with the tokenizer beside the arrays.

`python -m conversions.convert clip` writes such a folder.
"""

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import clip_scores
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import text_tokenizer

KIND = 'clip'


class ClipTokenizer:
  """Encodes texts as rows of CLIP's text tower: start, text, end, pads.

  Args:
    text: tokenizer with tokens of start and end.
    length: tokens of a row.

  Raises:
    ValueError: the tokenizer names no start or no end.
  """

  def __init__(self, text: text_tokenizer.TextTokenizer, length: int):
    self.text, self._length = text, length
    self._start = text.special.bos
    self._end = text.special.eos
    if self._start is None or self._end is None:
      raise ValueError(
        'the tokenizer of CLIP must have a bos_token and an eos_token, got '
        'none; copy its tokenizer_config.json, too'
      )

  def encode(self, texts) -> np.ndarray:
    """Returns int32[N, length]; long texts are cut, and still end.

    Args:
      texts: N texts.
    """
    rows = np.full((len(texts), self._length), self._end, np.int32)
    rows[:, 0] = self._start
    for row, ids in zip(rows, self.text.encode(list(texts))):
      ids = ids[: self._length - 2]
      row[1 : len(ids) + 1] = ids
    return rows


def read_record(path: str) -> converted_model.ConversionRecord:
  """Returns the record of a converted CLIP.

  Args:
    path: checkpoint folder.

  Raises:
    ValueError: the folder holds no readable checkpoint, or another model.
  """
  return converted_model.read_record(path, KIND)


def load(
  path: str, mesh, dtype: str = 'float32'
) -> tuple[clip_scores.ClipModel, ClipTokenizer]:
  """Reads a CLIP onto a mesh; all processes call it.

  Args:
    path: checkpoint folder.
    mesh: device mesh; each device gets all weights, as scores must not depend
      on the mesh.
    dtype: dtype of activations and matrix products.

  Returns:
    (model, tokenizer).

  Raises:
    ValueError: see `read_record` and `load_tokenizer`; or the arrays are
      damaged.
  """
  record = read_record(path)
  tokenizer = load_tokenizer(path)
  model = converted_model.restore_model(path, record, mesh)
  model = jax.device_put(model, sharding.replicated(mesh))
  abstract = abstract_modules.abstract_module(
    clip_scores.ClipModel, record.sizes.with_dtype(jnp.dtype(dtype))
  )
  model = jax.tree.unflatten(
    jax.tree.structure(abstract), jax.tree.leaves(model)
  )
  return model, tokenizer


def load_tokenizer(path: str) -> ClipTokenizer:
  """Reads the tokenizer of a CLIP.

  Args:
    path: checkpoint folder.

  Raises:
    ValueError: the tokenizer is missing, or has no tokens of start and end.
  """
  if not (storage.path(path) / 'tokenizer.json').is_file():
    raise ValueError(
      f'the CLIP {path} must have a tokenizer, got none: put tokenizer.json '
      'and tokenizer_config.json of the model into the folder'
    )
  length = read_record(path).sizes.text.length
  return ClipTokenizer(text_tokenizer.load(path), length)


def content_hash(path: str) -> str:
  """Returns a SHA-256 over the arrays and the tokenizer, in hex.

  Args:
    path: checkpoint folder.

  Raises:
    ValueError: see `load`.
  """
  return converted_model.content_hash(
    path, read_record(path).kind, load_tokenizer(path).text.content
  )
