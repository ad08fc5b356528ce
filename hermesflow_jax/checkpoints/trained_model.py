"""Trained models: a checkpoint with all parts of a unified model.

  model/...       arrays of the transformer, float32
  tokenizer/...   arrays of the image tokenizer, float32
  record          sizes, row lengths, grid, text tokenizer, and the model that
                  the training started from

Each process writes its own shards. The folder appears when it is complete,
also in a bucket (checkpoint.py).
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import temporary_folders
from hermesflow_jax.sequences import text_tokenizer

with lazy_modules.on_first_use():
  from hermesflow_jax.models import abstract_modules
  from hermesflow_jax.models import magvit
  from hermesflow_jax.models import showo

KIND = 'unified'
# Key of a checkpoint's record that only trained models have.
KEY = 'trained'


@dataclasses.dataclass(frozen=True)
class TrainedRecord:
  """A trained model's record.

  Attributes:
    sizes: sizes of both networks, row lengths and grid.
    text: the text tokenizer, as the content of a `tokenizer.json`.
    source: the model that the training started from; '' if it is not known.
    sha256: hash of all arrays, the sizes and the text tokenizer.
    notes: further values of the training, e.g. its steps; JSON types.
  """

  sizes: model_bundle.Sizes
  text: str
  source: str
  sha256: str
  notes: dict[str, Any]

  @property
  def config(self) -> showo.ShowOConfig:
    """Transformer config."""
    return self.sizes.transformer


def save_model(path: str, parts, source: str, notes: Mapping) -> None:
  """Writes a trained model, which appears under its name only when complete.

  All processes call it with the same arguments.

  Args:
    path: folder that does not exist yet; buckets are possible.
    parts: a `model_bundle.Bundle` or a `unified_model.UnifiedModel`.
    source: the model that the training started from.
    notes: values for `TrainedRecord.notes`; JSON types.

  Raises:
    ValueError: `path` exists.
  """
  config = parts.model.config
  sizes = dataclasses.asdict(
    model_bundle.Sizes(
      tokenizer=parts.tokenizer.config,
      vocab=config.vocab,
      decoder=config.decoder,
      lengths=parts.lengths,
      grid=tuple(parts.grid),
    )
  )
  del sizes['clip_width']
  record = {
    'kind': KIND,
    'dtype': 'float32',
    'source': source,
    'sizes': sizes | model_bundle.clip_sizes(config),
    'text': parts.text.content,
  }
  tree = {'model': parts.model, 'tokenizer': parts.tokenizer}
  checkpoint.save(str(path), tree, {KEY: record, **notes})


def tokenizer_from_json(content: str) -> text_tokenizer.TextTokenizer:
  """Returns a text tokenizer; the inverse of its `content`.

  Args:
    content: text from a `tokenizer.json`.
  """
  with temporary_folders.TemporaryFolder() as folder:
    file = pathlib.Path(folder, 'tokenizer.json')
    file.write_text(content, encoding='utf-8')
    return text_tokenizer.load(str(file))


def is_trained_model(path: str) -> bool:
  """Returns whether a readable trained model is at a path.

  Args:
    path: any path.
  """
  if not checkpoint.is_checkpoint(path):
    return False
  try:
    return is_record(checkpoint.read_metadata(path))
  except read_errors.DamagedError:
    return False


def is_record(meta) -> bool:
  """Returns whether a record belongs to a trained model.

  Args:
    meta: checkpoint record, from `checkpoint.read_metadata`.
  """
  return isinstance(meta, dict) and isinstance(meta.get(KEY), dict)


def read_record(path: str) -> TrainedRecord:
  """Returns the record of a trained model.

  Args:
    path: model folder.

  Raises:
    ValueError: the folder holds no trained model, is damaged, or its record
      has another form.
  """
  notes = checkpoint.read_metadata(path)
  if not is_record(notes):
    raise ValueError(f'no trained model at {path}')
  record = notes.pop(KEY)
  try:
    if (record['kind'], record['dtype']) != (KIND, 'float32'):
      raise ValueError(
        f'kind and dtype must be {KIND} and float32, got {record["kind"]} '
        f'and {record["dtype"]}'
      )
    sizes = settings.build(model_bundle.Sizes, record['sizes'], 'sizes')
    if sizes.vocab is None:
      raise ValueError('sizes must have a vocab')
    return TrainedRecord(
      sizes,
      record['text'],
      record['source'],
      _identity(checkpoint.array_hashes(path), record),
      notes,
    )
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'the record of {path} has another form: {error}'
    ) from error


def _identity(sums, record) -> str:
  content = {
    'arrays': sums,
    # Without defaults: the hash of an old model stays when a field is added.
    'sizes': identities.identity_of(
      model_bundle.Sizes, record['sizes'], of='model', defaults=False
    ),
    'text': record['text'],
  }
  return hashlib.sha256(
    json.dumps(content, sort_keys=True).encode()
  ).hexdigest()


def load_parts(path: str, mesh=None) -> model_bundle.Bundle:
  """Reads all parts of a trained model.

  Args:
    path: model folder.
    mesh: device mesh from `sharding.make_mesh`; None for one device.

  Raises:
    ValueError: see `read_record`; or its arrays are damaged.
  """
  record = read_record(path)
  config = _runnable(record.config)

  abstract = {
    'model': abstract_modules.abstract_module(showo.ShowO, config),
    'tokenizer': abstract_modules.abstract_module(
      magvit.Magvit, record.sizes.tokenizer
    ),
  }
  arrays = checkpoint.restore(path, abstract, leaf_shardings(abstract, mesh))
  text = tokenizer_from_json(record.text)
  return model_bundle.Bundle(
    arrays['model'],
    arrays['tokenizer'],
    text,
    record.sizes.lengths,
    record.sizes.grid,
  )


def _runnable(config):
  """Returns a config whose attention backend runs on this platform."""
  platform = jax.default_backend()
  decoder = config.decoder
  if model_bundle.KERNEL_PLATFORMS.get(decoder.attention, platform) == platform:
    return config
  decoder = dataclasses.replace(decoder, attention='auto')
  return dataclasses.replace(config, decoder=decoder)


def leaf_shardings(tree, mesh=None):
  """Returns each leaf's sharding.

  Args:
    tree: pytree of arrays or shapes.
    mesh: device mesh from `sharding.make_mesh`; None for one device.
  """
  if mesh is None:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda _: device, tree)
  return sharding.shardings(tree, mesh)


def restore_parts(path: str, parts) -> tuple[Any, dict]:
  """Restores the transformer that `save_model` wrote for parts of equal sizes.

  All processes call it. Checkpoints of earlier releases, which hold only the
  transformer, are read, too.

  Args:
    path: model folder.
    parts: a `unified_model.UnifiedModel` with the structure and the mesh.

  Returns:
    (transformer, checkpoint record as JSON types).

  Raises:
    read_errors.DamagedError: see `checkpoint.restore`.
    OSError: see `checkpoint.restore`.
    ValueError: see `checkpoint.restore`.
  """
  meta, cause = None, None
  try:
    meta = checkpoint.read_metadata(path)
  except (read_errors.DamagedError, OSError) as error:
    cause = error
  read_errors.check_read(path, cause)
  if not is_record(meta):
    placed = leaf_shardings(parts.model, parts.mesh)
    return checkpoint.restore(path, parts.model, placed), meta
  tree = {'model': parts.model, 'tokenizer': parts.tokenizer}
  # Both parts are read, as damage of either is damage of the model.
  arrays = checkpoint.restore(path, tree, leaf_shardings(tree, parts.mesh))
  return arrays['model'], meta
