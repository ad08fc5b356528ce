"""Converted text encoders: BERT or MPNet, with the tokenizer beside the arrays.

`python -m conversions.convert bert|mpnet` writes such a folder.
"""

import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.models import text_encoder_layers
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import encoder_tokenizer

KINDS = ('bert', 'mpnet')
# Files that hold a tokenizer; either is enough.
_VOCABULARIES = ('tokenizer.json', 'vocab.txt')


def read_record(path: str) -> converted_model.ConversionRecord:
  """Returns the record of a converted text encoder.

  Args:
    path: checkpoint folder.

  Raises:
    ValueError: the folder holds no readable checkpoint, or another model.
  """
  meta = checkpoint.read_metadata(path)
  record = meta.get('converted') if isinstance(meta, dict) else None
  kind = record.get('kind') if isinstance(record, dict) else None
  if kind not in KINDS:
    raise ValueError(
      f'{path} must be a text encoder ({" or ".join(KINDS)}), got '
      f'{kind or "another model"}'
    )
  return converted_model.read_record(path, kind)


def load(
  path: str, mesh, dtype: str = 'float32'
) -> tuple[text_encoder_layers.Encoder, encoder_tokenizer.EncoderTokenizer]:
  """Reads a text encoder onto a mesh; all processes call it.

  Args:
    path: checkpoint folder.
    mesh: device mesh; each device gets all weights, as scores must not depend
      on the mesh.
    dtype: dtype of matrix products; see `text_encoder_layers.EncoderConfig`.

  Returns:
    (encoder, tokenizer).

  Raises:
    ValueError: see `read_record` and `load_tokenizer`; or the arrays are
      damaged.
  """
  record = read_record(path)
  text = load_tokenizer(path)
  model = converted_model.restore_model(path, record, mesh)
  model = jax.device_put(model, sharding.replicated(mesh))
  return model.with_dtype(dtype), text


def load_tokenizer(path: str) -> encoder_tokenizer.EncoderTokenizer:
  """Reads the tokenizer of a text encoder.

  Args:
    path: checkpoint folder.

  Raises:
    ValueError: the tokenizer is missing, or has no tokens of start and end.
  """
  folder = storage.path(path)
  if not any((folder / name).is_file() for name in _VOCABULARIES):
    raise ValueError(
      f'the text encoder {path} must have a tokenizer, got none: put '
      'tokenizer.json and tokenizer_config.json of the encoder into the folder'
    )
  return encoder_tokenizer.load(path)


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
