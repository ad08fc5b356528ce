"""Writes models in the official PyTorch form: weights and `config.json`."""

from collections.abc import Callable
import dataclasses
import json
import pathlib

import numpy as np

from conversions import weight_table
from conversions.files import destination
from conversions.files import layouts
from conversions.files import safetensors_file
from conversions.files import tensors
from conversions.files import tokenizer_files
from conversions.tables import bert_table
from conversions.tables import clip_model_table
from conversions.tables import clip_table
from conversions.tables import inception_table
from conversions.tables import magvit_table
from conversions.tables import mpnet_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import clip_folder
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import text_encoder_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

DTYPES = {str(dtype): dtype for dtype in tensors.FLOATS}
# kind: file name that its official loader reads.
WEIGHTS = {
  'showo': 'pytorch_model.safetensors',
  'magvitv2': 'pytorch_model.safetensors',
  'clip_vision': 'model.safetensors',
  'clip': 'model.safetensors',
  'inception': 'model.safetensors',
  'bert': 'model.safetensors',
  'mpnet': 'model.safetensors',
}
_TABLES = {
  'clip_vision': clip_table,
  'clip': clip_model_table,
  'bert': bert_table,
  'mpnet': mpnet_table,
}
# Files of a bundle that no folder with PyTorch weights has.
BUNDLE = {'tokenizer.safetensors', 'text.json'}
# transformers requires 'format': 'pt'.
METADATA = {'format': 'pt', 'written_by': 'hermesflow_jax'}


def entries_of(kind: str, model) -> dict[str, weight_table.Entry]:
  """Returns the tensors in the official layout, sorted by name.

  Args:
    kind: key in WEIGHTS.
    model: model of this kind.
  """
  if kind == 'showo':
    return weight_table.entries(model, showo_table.rows_of(model.config))
  if kind == 'magvitv2':
    return weight_table.entries(
      model, magvit_table.TABLE, magvit_table.constants(model.config)
    )
  if kind == 'inception':
    return weight_table.entries(
      model, inception_table.TABLE, inception_table.constants()
    )
  return weight_table.entries(model, _TABLES[kind].TABLE)


def official_config(
  record: converted_model.ConversionRecord, dtype: str
) -> dict:
  """Returns a model's official `config.json`."""
  if record.kind == 'showo':
    return showo_table.official(record.sizes, record.max_text)
  if record.kind == 'magvitv2':
    return magvit_table.official(record.sizes)
  if record.kind == 'inception':
    return inception_table.official(record.sizes)
  return _TABLES[record.kind].official(record.sizes, dtype)


def load_jax_model(
  kind: str,
  src: str,
  sizes: str | None,
  say: Callable[[str], None] = lambda line: None,
):
  """Loads a model that this library has written.

  Args:
    kind: key in WEIGHTS.
    src: converted checkpoint, trained model, bundle, 'assets:<name>', or run
      folder, which stands for its newest model.
    sizes: model with the same sizes as `src`. Required for checkpoints without
      sizes: those within a round, and those from earlier releases.
    say: receives a line that names the model taken from a run.

  Returns:
    (model, ConversionRecord).

  Raises:
    ValueError: `src` is no such model, is damaged, or does not fit the sizes.
  """
  if src.startswith('assets:'):
    src = str(initial_model.ASSETS / src.removeprefix('assets:'))
  if not storage.path(src).exists():
    raise ValueError(f'no checkpoint or bundle at {src}')
  newest = run_folder.newest_model(src)
  if str(newest) != str(storage.path(src)):
    is_round = newest.parent.name == 'checkpoints'
    model_name = f'round {newest.name}' if is_round else 'its model'
    say(f'{src} is a run: taking {model_name}, {newest}')
  src = str(newest)
  if not checkpoint.is_checkpoint(src):
    return _load_from_bundle(kind, src)
  if sizes is None or trained_model.is_trained_model(src):
    record = converted_model.read_record(src, kind)
    return converted_model.restore_model(src, record), record
  sizes = str(run_folder.newest_model(sizes))
  if checkpoint.is_checkpoint(sizes):
    record = converted_model.read_record(sizes, kind)
  else:
    _, record = _load_from_bundle(kind, sizes)
  names = checkpoint.array_shapes(src)
  part = 'model/' if any(name.startswith('model/') for name in names) else ''
  record = dataclasses.replace(record, part=part, dtype='float32')
  return converted_model.restore_model(src, record), record


def _load_from_bundle(kind: str, path: str):
  """Returns (model, ConversionRecord) from a bundle."""
  names = storage.list_names(storage.path(path))
  if not BUNDLE & set(names) and any(
    name.endswith(layouts.SUFFIXES) for name in [path, *names]
  ):
    raise ValueError(
      f'{path} must be a model of this library, got PyTorch weights: convert '
      f'them by `python -m conversions.convert {kind} {path} <folder>`'
    )
  parts = model_bundle.load_bundle(path)
  model = {'showo': parts.model, 'magvitv2': parts.tokenizer}.get(kind)
  if model is None:
    raise ValueError(f'bundle {path} holds no {kind}')
  _, sums = model_bundle.read_sizes(path)
  return model, converted_model.ConversionRecord(
    kind=kind,
    sizes=model.config,
    dtype='float32',
    source=path,
    max_text=parts.lengths.max_text if kind == 'showo' else 0,
    sha256=sums,
  )


def write_model(
  kind: str,
  src: str,
  dst: str,
  *,
  overwrite: bool,
  sizes: str | None,
  dtype: str | None,
  console: terminal.Console,
) -> None:
  """Writes a model in the official PyTorch form.

  Args:
    kind: key in WEIGHTS.
    src: model, see `load_jax_model`.
    dst: folder to create.
    overwrite: whether to replace a folder that this function has written.
    sizes: see `load_jax_model`.
    dtype: key in DTYPES. None keeps a converted checkpoint's dtype and means
      float32 for a trained model.
    console: receives progress.

  Raises:
    ValueError: `src` or `dst` is invalid; `dst` is unchanged.
  """
  if kind == 'phi':
    raise ValueError(
      'KIND must not be phi with --reverse, because a converted Phi is a '
      'Show-o: use KIND showo'
    )
  with destination.new_folder(
    dst, overwrite, _is_written_here, console.say
  ) as folder:
    model, record = load_jax_model(kind, src, sizes, console.say)
    dtype = DTYPES[dtype or record.dtype]
    config = official_config(record, str(dtype))
    entries = entries_of(kind, model)
    specs = {
      name: (entry.shape, _stored_dtype(entry.dtype, dtype))
      for name, entry in entries.items()
    }
    destination.check_space(folder, safetensors_file.size_of(specs))
    folder.mkdir()

    def make(name):
      array = np.asarray(entries[name].make())
      return array.astype(specs[name][1], order='C', copy=False)

    safetensors_file.write(
      folder / WEIGHTS[kind], specs, make, METADATA, console.progress('writing')
    )
    text = json.dumps(config, indent=2, sort_keys=True) + '\n'
    (folder / 'config.json').write_text(text)
    if kind in (*text_encoder_folder.KINDS, clip_folder.KIND):
      tokenizer_files.copy_from_checkpoint(src, folder)


def _stored_dtype(array_dtype, float_dtype) -> np.dtype:
  """Returns `float_dtype` for floating arrays, `array_dtype` for others."""
  return float_dtype if array_dtype in tensors.FLOATS else array_dtype


def _is_written_here(folder: pathlib.Path) -> bool:
  """Returns whether `write_model` has written a folder."""
  names = {p.name for p in folder.iterdir()}
  names -= {'config.json', *tokenizer_files.NAMES}
  if len(names) != 1 or not names <= set(WEIGHTS.values()):
    return False
  try:
    return safetensors_file.metadata(folder / names.pop()) == METADATA
  except ValueError:
    return False
