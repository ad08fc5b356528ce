"""Bundles: a unified model as a folder of safetensors files.

config.json             sizes, row lengths, SHA-256 of the other files
model.safetensors       transformer, by parameter path
tokenizer.safetensors   image tokenizer, by parameter path
text.json               text tokenizer
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

import jax
import numpy as np
import safetensors.numpy

from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi_config
from hermesflow_jax.models import showo_config
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

with lazy_modules.on_first_use():
  from hermesflow_jax.models import abstract_modules
  from hermesflow_jax.models import magvit
  from hermesflow_jax.models import showo

# Settings of speed that a bundle holds beside the sizes.
_SPEED = ('unroll', 'attention')
# Attention backends that run on one platform only.
KERNEL_PLATFORMS = {'cudnn': 'gpu', 'splash': 'tpu'}
FILES = ('tokenizer.safetensors', 'model.safetensors', 'text.json')


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Sizes in `config.json`; a bundle without a model has only `tokenizer`.

  Attributes:
    tokenizer: image tokenizer sizes.
    vocab: token ranges.
    decoder: transformer sizes.
    lengths: row lengths.
    grid: (h, w) in image tokens.
    clip_width: see `showo_config.ShowOConfig`.
  """

  tokenizer: magvit_config.MagvitConfig
  vocab: vocabulary.Vocab | None = None
  decoder: phi_config.PhiConfig | None = None
  lengths: token_rows.Lengths | None = None
  grid: tuple[int, ...] | None = None
  clip_width: settings.NonNegativeInt = 0

  def __post_init__(self):
    rest = (self.vocab, self.decoder, self.lengths, self.grid)
    if any(rest) and not all(rest):
      raise ValueError('vocab, decoder, lengths and grid must come together')
    if self.grid and (len(self.grid) != 2 or min(self.grid) < 1):
      raise ValueError(f'grid must be (h, w), got {self.grid}')

  @property
  def transformer(self) -> showo_config.ShowOConfig:
    """Transformer config, for `grid` image tokens."""
    height, width = self.grid
    return showo_config.ShowOConfig(
      self.vocab, self.decoder, height * width, self.clip_width
    )


@dataclasses.dataclass(frozen=True)
class Bundle:
  """A model that was read; the modules of a bundle hold numpy arrays."""

  model: showo.ShowO | None
  tokenizer: magvit.Magvit
  text: text_tokenizer.TextTokenizer | None
  lengths: token_rows.Lengths | None
  grid: tuple[int, int] | None


def _arrays(module) -> dict[str, np.ndarray]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(module)
  return {sharding.path_name(p): np.asarray(a) for p, a in leaves}


def _decoder_sizes(values: dict) -> dict:
  """Returns the decoder settings that a bundle holds.

  Args:
    values: `phi_config.PhiConfig` fields by name.

  Returns:
    The sizes, and settings of speed that suit every machine: a kernel of one
    kind of accelerator becomes 'auto', which picks one where the bundle runs.
  """
  sizes = identities.identity_of(
    phi_config.PhiConfig, values, of='model', defaults=False
  )
  sizes |= {name: values[name] for name in _SPEED if name in values}
  if sizes.get('attention') in KERNEL_PLATFORMS:
    sizes['attention'] = 'auto'
  return sizes


def _write(folder, name, module):
  data = safetensors.numpy.save(_arrays(module))
  (folder / name).write_bytes(data)
  return hashlib.sha256(data).hexdigest()


def save_tokenizer(path: str, tokenizer: magvit.Magvit) -> None:
  """Writes an image tokenizer into a bundle.

  Args:
    path: bundle folder, which need not exist.
    tokenizer: the image tokenizer.
  """
  folder = storage.path(path)
  storage.make_folder(folder)
  record = _record(folder)
  record['tokenizer'] = identities.model_identity(tokenizer.config)
  record['sha256'] = record.get('sha256', {}) | {
    'tokenizer.safetensors': _write(folder, 'tokenizer.safetensors', tokenizer)
  }
  _put_record(folder, record)


def save_model(
  path: str,
  model: showo.ShowO,
  text: text_tokenizer.TextTokenizer,
  lengths: token_rows.Lengths,
  grid: tuple[int, int],
) -> None:
  """Writes the transformer and the text tokenizer into a bundle.

  Args:
    path: bundle folder, which need not exist.
    model: the transformer.
    text: the text tokenizer.
    lengths: row lengths.
    grid: (h, w) in image tokens.
  """
  folder = storage.path(path)
  storage.make_folder(folder)
  with transfer.Outbox(folder) as outbox:
    text.save(str(outbox.folder / 'text.json'))
  sum_of_text = hashlib.sha256((folder / 'text.json').read_bytes())
  record = _record(folder)
  record |= {
    'vocab': dataclasses.asdict(model.config.vocab),
    'decoder': _decoder_sizes(dataclasses.asdict(model.config.decoder)),
    'lengths': dataclasses.asdict(lengths),
    'grid': list(grid),
  } | clip_sizes(model.config)
  record['sha256'] = record.get('sha256', {}) | {
    'model.safetensors': _write(folder, 'model.safetensors', model),
    'text.json': sum_of_text.hexdigest(),
  }
  _put_record(folder, record)


def clip_sizes(config: showo_config.ShowOConfig) -> dict[str, int]:
  """Returns `clip_width` as a part of a record; {} if the model has none.

  So the records of other models, and their hashes, are as in earlier releases.
  """
  return {'clip_width': config.clip_width} if config.clip_width else {}


def _record(folder) -> dict:
  path = folder / 'config.json'
  return json.loads(path.read_text()) if path.exists() else {}


def _put_record(folder, record):
  text = json.dumps(record, indent=2, sort_keys=True) + '\n'
  (folder / 'config.json').write_text(text)


def read_sizes(path: str) -> tuple[Sizes, dict[str, str]]:
  """Returns the sizes of a bundle, and the SHA-256 of its files by name.

  Args:
    path: bundle folder.

  Raises:
    ValueError: `config.json` is missing, or belongs to no bundle.
  """
  file = storage.path(path) / 'config.json'
  try:
    record = json.loads(file.read_text())
    if not isinstance(record, dict) or 'sha256' not in record:
      raise ValueError('it has no SHA-256 of weights')
    sums = record.pop('sha256')
    if isinstance(record.get('decoder'), dict):
      record['decoder'] = _decoder_sizes(record['decoder'])
    sizes = settings.build(Sizes, record, 'config.json')
    files = FILES if sizes.vocab else FILES[:1]
    if not isinstance(sums, dict) or sorted(sums) != sorted(files):
      raise ValueError('sha256 must be that of ' + ', '.join(files))
  except (OSError, ValueError, RecursionError) as error:
    raise ValueError(f'no readable bundle at {path}: {error}') from error
  return sizes, sums


def load_bundle(path: str) -> Bundle:
  """Reads a bundle.

  Args:
    path: bundle folder.

  Returns:
    The parts; `model`, `text`, `lengths` and `grid` are None in a bundle
    without a model.

  Raises:
    ValueError: a file is missing or unreadable, its hash differs, or its
      arrays do not fit the sizes; the message names the file.
  """
  sizes, sums = read_sizes(path)
  with transfer.local_copy(storage.path(path), sums) as folder:
    return _read(storage.path(path), folder, sizes, sums)


def check_sums(path, folder, sums):
  """Checks files of a bundle.

  Args:
    path: the bundle's folder, for the error.
    folder: local folder with its files.
    sums: SHA-256 by file name.

  Raises:
    ValueError: a file is missing, or its hash differs.
  """
  for name, expected in sums.items():
    try:
      digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError as error:
      raise ValueError(f'bundle {path}: {name} is missing') from error
    if digest != expected:
      raise ValueError(
        f'bundle {path}: {name} has SHA-256 {digest}, must be {expected}'
      )


def _read(path, folder, sizes, sums):
  """Reads the files of the bundle at `path`, which are in `folder`."""
  check_sums(path, folder, sums)

  def filled(name, kind, config):
    arrays = safetensors.numpy.load_file(folder / name)
    abstract = abstract_modules.abstract_module(kind, config)
    return _fill(path / name, arrays, abstract)

  tokenizer = filled('tokenizer.safetensors', magvit.Magvit, sizes.tokenizer)
  if sizes.vocab is None:
    return Bundle(None, tokenizer, None, None, None)
  model = filled('model.safetensors', showo.ShowO, sizes.transformer)
  text = text_tokenizer.load(str(folder / 'text.json'))
  return Bundle(model, tokenizer, text, sizes.lengths, sizes.grid)


def _fill(path, arrays, abstract):
  """Returns the module with the arrays of the file at `path` in it."""
  leaves, structure = jax.tree_util.tree_flatten_with_path(abstract)
  names = [sharding.path_name(p) for p, _ in leaves]
  faults = [f'{n} is surplus' for n in sorted(set(arrays) - set(names))]
  for name, (_, leaf) in zip(names, leaves):
    array = arrays.get(name)
    if array is None:
      faults.append(f'{name} is missing')
    elif (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
      faults.append(
        f'{name} must be {leaf.dtype}{list(leaf.shape)}, '
        f'got {array.dtype}{list(array.shape)}'
      )
  if faults:
    raise ValueError(f'{path} does not fit: ' + '; '.join(faults))
  return jax.tree.unflatten(structure, [arrays[n] for n in names])
