"""Trained models: a checkpoint folder with all parts of a unified model.

  model/...       arrays of the transformer, float32
  tokenizer/...   arrays of the image tokenizer, float32
  record          sizes of both, lengths of rows, grid, the text tokenizer,
                  and the model that the training started from

Every process writes its own shards, and the folder appears whole or not at
all, also in a bucket (checkpoint.py).
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
import tempfile
from typing import Any

from flax import nnx
import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.models import magvit
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import text_tokenizer

KIND = 'unified'
# Where a checkpoint's record says that it is a trained model.
KEY = 'trained'


@dataclasses.dataclass(frozen=True)
class TrainedRecord:
  """The record of a trained model.

  Attributes:
    sizes: of the transformer, the image tokenizer, rows and the grid.
    text: the text tokenizer, the content of a `tokenizer.json`.
    source: the model that the training started from; '' if it is not known.
    sha256: the identity of the model: a SHA-256 of the bits of all arrays, the
      sizes and the text tokenizer.
    notes: what the training wrote beside it, e.g. its steps; JSON types.
  """

  sizes: model_bundle.Sizes
  text: str
  source: str
  sha256: str
  notes: dict[str, Any]

  @property
  def config(self) -> showo.ShowOConfig:
    """The sizes of the transformer."""
    height, width = self.sizes.grid
    return showo.ShowOConfig(
      self.sizes.vocab, self.sizes.decoder, height * width
    )


def save_model(path: str, parts, source: str, notes: Mapping) -> None:
  """Writes a trained model; it appears under its name only when it is whole.

  All processes call it with the same arguments.

  Args:
    path: a folder that does not exist yet, also of a bucket.
    parts: has `model`, `tokenizer`, `text`, `lengths` and `grid`, as a
      `model_bundle.Bundle` or an `unified_model.UnifiedModel` has.
    source: the model that the training started from.
    notes: read back as `ConversionRecord.notes`; JSON types.

  Raises:
    ValueError: `path` exists.
  """
  config = parts.model.config
  record = {
    'kind': KIND,
    'dtype': 'float32',
    'source': source,
    'sizes': dataclasses.asdict(
      model_bundle.Sizes(
        tokenizer=parts.tokenizer.config,
        vocab=config.vocab,
        decoder=config.decoder,
        lengths=parts.lengths,
        grid=tuple(parts.grid),
      )
    ),
    'text': tokenizer_to_json(parts.text),
  }
  tree = {'model': parts.model, 'tokenizer': parts.tokenizer}
  checkpoint.save(str(path), tree, {KEY: record, **notes})


def tokenizer_to_json(text: text_tokenizer.TextTokenizer) -> str:
  """Returns a text tokenizer as the content of a `tokenizer.json`."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, 'tokenizer.json')
    text.save(str(file))
    content = json.loads(file.read_text(encoding='utf-8'))
  return json.dumps(content, ensure_ascii=False, separators=(',', ':'))


def tokenizer_from_json(content: str) -> text_tokenizer.TextTokenizer:
  """Returns the text tokenizer of `tokenizer_to_json`."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, 'tokenizer.json')
    file.write_text(content, encoding='utf-8')
    return text_tokenizer.load(str(file))


def is_trained_model(path: str) -> bool:
  """Returns whether a readable trained model is at a path."""
  if not checkpoint.is_checkpoint(path):
    return False
  try:
    return is_record(checkpoint.read_metadata(path))
  except read_errors.Damaged:
    return False


def is_record(meta) -> bool:
  """Returns whether the record of a checkpoint is that of a trained model."""
  return isinstance(meta, dict) and isinstance(meta.get(KEY), dict)


def read_record(path: str) -> TrainedRecord:
  """Returns the record of a trained model.

  Raises:
    ValueError: the folder at `path` is no trained model, is damaged, or its
      record has another form.
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
    'sizes': settings.identity(
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
    path: its folder.
    mesh: from `sharding.make_mesh`, for the arrays; None: one device.

  Raises:
    ValueError: see `read_record`; or its arrays are damaged.
  """
  record = read_record(path)
  config = _runnable(record.config)

  def make():
    return {
      'model': showo.ShowO(config, rngs=nnx.Rngs(0)),
      'tokenizer': magvit.Magvit(record.sizes.tokenizer, nnx.Rngs(0)),
    }

  abstract = nnx.eval_shape(make)
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
  """Returns the sharding of each leaf; without a mesh, one device."""
  if mesh is None:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda _: device, tree)
  return sharding.shardings(tree, mesh)


def restore_parts(path: str, parts) -> tuple[Any, dict]:
  """Reads the transformer that `save_model` wrote, for parts of the same sizes.

  A checkpoint of an earlier release, which holds the transformer alone, is
  read, too. All processes call it.

  Args:
    path: the folder.
    parts: an `unified_model.UnifiedModel`; it has the structure and the mesh.

  Returns:
    (the transformer, the record of the checkpoint as JSON types).

  Raises:
    checkpoint.Damaged, OSError, ValueError: see `checkpoint.restore`.
  """
  meta, cause = None, None
  try:
    meta = checkpoint.read_metadata(path)
  except (read_errors.Damaged, OSError) as error:
    cause = error
  read_errors.check_read(path, cause)
  if not is_record(meta):
    placed = leaf_shardings(parts.model, parts.mesh)
    return checkpoint.restore(path, parts.model, placed), meta
  tree = {'model': parts.model, 'tokenizer': parts.tokenizer}
  # Damage of either part is damage of the model.
  arrays = checkpoint.restore(path, tree, leaf_shardings(tree, parts.mesh))
  return arrays['model'], meta
