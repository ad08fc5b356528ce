"""A unified model as one folder: weights, tokenizers, sizes and their sums.

config.json             sizes of both models and of rows, SHA-256 of the files
model.safetensors       the transformer, by parameter path
tokenizer.safetensors   the image tokenizer
text.json               the text tokenizer
"""

import dataclasses
import hashlib
import json

from flax import nnx
import jax
import numpy as np
import safetensors.numpy

from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

# Settings of speed that a bundle holds beside the sizes.
_SPEED = ('unroll', 'attention')
# Attention backends that run on one platform only.
KERNEL_PLATFORMS = {'cudnn': 'gpu', 'splash': 'tpu'}
FILES = ('tokenizer.safetensors', 'model.safetensors', 'text.json')


@dataclasses.dataclass(frozen=True)
class Sizes:
  """What `config.json` says; of a tokenizer alone, `tokenizer` only.

  Attributes:
    tokenizer: the image tokenizer.
    vocab: token ranges.
    decoder: the transformer.
    lengths: of rows.
    grid: (h, w) of the image tokens.
  """

  tokenizer: magvit_config.MagvitConfig
  vocab: vocabulary.Vocab | None = None
  decoder: phi.PhiConfig | None = None
  lengths: token_rows.Lengths | None = None
  grid: tuple[int, ...] | None = None

  def __post_init__(self):
    rest = (self.vocab, self.decoder, self.lengths, self.grid)
    if any(rest) and not all(rest):
      raise ValueError('vocab, decoder, lengths and grid go together')
    if self.grid and (len(self.grid) != 2 or min(self.grid) < 1):
      raise ValueError(f'grid is {self.grid}, wanted (h, w)')


@dataclasses.dataclass(frozen=True)
class Bundle:
  """What was read from a folder; weights are numpy arrays in modules."""

  model: showo.ShowO | None
  tokenizer: magvit.Magvit
  text: text_tokenizer.TextTokenizer | None
  lengths: token_rows.Lengths | None
  grid: tuple[int, int] | None


def _arrays(module) -> dict[str, np.ndarray]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(module)
  return {sharding.path_name(p): np.asarray(a) for p, a in leaves}


def _decoder_sizes(values: dict) -> dict:
  """Returns the settings of a decoder that a bundle holds.

  Args:
    values: fields of a `phi.PhiConfig` by name.

  Returns:
    The sizes, and settings of speed that suit every machine: a kernel of one
    kind of accelerator becomes 'auto', which picks one where the bundle runs.
  """
  sizes = settings.identity(phi.PhiConfig, values, of='model', defaults=False)
  sizes |= {name: values[name] for name in _SPEED if name in values}
  if sizes.get('attention') in KERNEL_PLATFORMS:
    sizes['attention'] = 'auto'
  return sizes


def _write(folder, name, module):
  data = safetensors.numpy.save(_arrays(module))
  (folder / name).write_bytes(data)
  return hashlib.sha256(data).hexdigest()


def save_tokenizer(path: str, tokenizer: magvit.Magvit) -> None:
  """Writes `tokenizer.safetensors`, and its part of `config.json`."""
  folder = storage.path(path)
  storage.make_folder(folder)
  record = _record(folder)
  record['tokenizer'] = settings.model_identity(tokenizer.config)
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
  """Writes the transformer and the text tokenizer into a bundle."""
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
  }
  record['sha256'] = record.get('sha256', {}) | {
    'model.safetensors': _write(folder, 'model.safetensors', model),
    'text.json': sum_of_text.hexdigest(),
  }
  _put_record(folder, record)


def _record(folder) -> dict:
  path = folder / 'config.json'
  return json.loads(path.read_text()) if path.exists() else {}


def _put_record(folder, record):
  text = json.dumps(record, indent=2, sort_keys=True) + '\n'
  (folder / 'config.json').write_text(text)


def read_sizes(path: str) -> tuple[Sizes, dict[str, str]]:
  """Returns what `config.json` says: sizes, and the sum of each file.

  Raises:
    ValueError: it is missing, or not that of a bundle.
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
    wanted = FILES if sizes.vocab else FILES[:1]
    if not isinstance(sums, dict) or sorted(sums) != sorted(wanted):
      raise ValueError('wanted SHA-256 of ' + ', '.join(wanted))
  except (OSError, ValueError) as error:
    raise ValueError(f'no readable bundle at {path}: {error}') from error
  return sizes, sums


def load_bundle(path: str) -> Bundle:
  """Reads a bundle, or a tokenizer alone.

  Raises:
    ValueError: a file is missing or unreadable, differs from its sum, or its
      arrays do not fit the sizes; the message names it.
  """
  sizes, sums = read_sizes(path)
  with transfer.local_copy(storage.path(path), sums) as folder:
    return _read(storage.path(path), folder, sizes, sums)


def _read(path, folder, sizes, sums):
  """Reads the files of the bundle at `path`, which are in `folder`."""
  for name, wanted in sums.items():
    try:
      found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError as error:
      raise ValueError(f'bundle {path}: {name} is missing') from error
    if found != wanted:
      raise ValueError(
        f'bundle {path}: {name} has SHA-256 {found}, wanted {wanted}'
      )

  def filled(name, make):
    return _fill(path / name, safetensors.numpy.load_file(folder / name), make)

  tokenizer = filled(
    'tokenizer.safetensors', lambda: magvit.Magvit(sizes.tokenizer, nnx.Rngs(0))
  )
  if sizes.vocab is None:
    return Bundle(None, tokenizer, None, None, None)
  config = showo.ShowOConfig(
    sizes.vocab, sizes.decoder, sizes.grid[0] * sizes.grid[1]
  )
  model = filled(
    'model.safetensors', lambda: showo.ShowO(config, rngs=nnx.Rngs(0))
  )
  text = text_tokenizer.load(str(folder / 'text.json'))
  return Bundle(model, tokenizer, text, sizes.lengths, sizes.grid)


def _fill(path, arrays, make):
  """Returns the module with the arrays of the file at `path` in it."""
  abstract = nnx.eval_shape(make)
  leaves, structure = jax.tree_util.tree_flatten_with_path(abstract)
  names = [sharding.path_name(p) for p, _ in leaves]
  faults = [f'{n} is surplus' for n in sorted(set(arrays) - set(names))]
  for name, (_, leaf) in zip(names, leaves):
    found = arrays.get(name)
    if found is None:
      faults.append(f'{name} is missing')
    elif (found.shape, found.dtype) != (leaf.shape, leaf.dtype):
      faults.append(
        f'{name} is {found.dtype}{list(found.shape)}, '
        f'wanted {leaf.dtype}{list(leaf.shape)}'
      )
  if faults:
    raise ValueError(f'{path} does not fit: ' + '; '.join(faults))
  return jax.tree.unflatten(structure, [arrays[n] for n in names])
