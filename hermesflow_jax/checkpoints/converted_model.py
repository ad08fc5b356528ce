"""Converted networks: their records, and restoring them onto a mesh.

A converted network is a checkpoint (checkpoint.py), whose record has its kind,
its sizes and the hashes of its source files. The networks of a trained model
(trained_model.py) are read in the same way.
"""

import dataclasses
import hashlib
import json
from typing import Any

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import bert
from hermesflow_jax.models import clip
from hermesflow_jax.models import clip_scores
from hermesflow_jax.models import inception
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import mpnet
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage

# kind: (config, module)
KINDS = {
  'showo': (showo.ShowOConfig, showo.ShowO),
  'magvitv2': (magvit_config.MagvitConfig, magvit.Magvit),
  'clip_vision': (clip.ClipConfig, clip.Clip),
  'clip': (clip_scores.ClipModelConfig, clip_scores.ClipModel),
  'inception': (inception.InceptionConfig, inception.Inception),
  'bert': (bert.BertConfig, bert.Bert),
  'mpnet': (mpnet.MPNetConfig, mpnet.MPNet),
}


@dataclasses.dataclass(frozen=True)
class ConversionRecord:
  """Record of a converted network.

  Attributes:
    kind: a key in KINDS.
    sizes: module config.
    max_text: text tokens in t2i rows; 0 for a network without text.
    dtype: source tensor dtype; the arrays are float32.
    source: source folder or name.
    sha256: source file hashes, by name.
    part: beginning of the array names in the checkpoint, e.g. 'model/' in a
      trained model; not written.
  """

  kind: str
  sizes: Any
  max_text: int
  dtype: str
  source: str
  sha256: dict[str, str]
  part: str = ''

  def meta(self) -> dict:
    """Returns the record as JSON types for `checkpoint.save`."""
    record = dataclasses.asdict(self)
    del record['part']
    return {
      'converted': record | {'sizes': identities.model_identity(self.sizes)}
    }

  def abstract(self):
    """Returns the module with shapes in place of arrays."""
    return abstract_modules.abstract_module(KINDS[self.kind][1], self.sizes)


def read_record(path: str, kind: str) -> ConversionRecord:
  """Returns the record of a converted network, or of a trained model's part.

  Args:
    path: checkpoint folder.
    kind: a key in KINDS; a trained model has 'showo' and 'magvitv2'.

  Raises:
    ValueError: the record is not readable, has no sizes, or is of another
      kind.
  """
  meta = checkpoint.read_metadata(path)
  if trained_model.is_record(meta):
    return _part(path, kind)
  record = meta.get('converted') if isinstance(meta, dict) else None
  if not isinstance(record, dict) or record.get('kind') not in KINDS:
    raise ValueError(
      f'checkpoint {path} does not record its sizes: an earlier release wrote '
      'it, with the transformer alone. Export it by '
      f'`python -m conversions.convert showo {path} <folder> --reverse '
      '--sizes=<model that the run started from>`, then convert <folder>'
    )
  if record['kind'] != kind:
    raise ValueError(f'{path} must be of kind {kind}, got {record["kind"]}')
  try:
    sizes = settings.build(KINDS[kind][0], record['sizes'], 'sizes')
    record = ConversionRecord(**record | {'sizes': sizes})
  # Another release may have written other keys.
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'checkpoint {path} records its sizes in another form: {error}'
    ) from error
  return _corrected(path, record)


def _part(path, kind):
  """Returns the record of a trained model's transformer or tokenizer."""
  record = trained_model.read_record(path)
  # As in a converted network, the reader chooses how it is computed.
  decoder = phi.PhiConfig(**identities.model_identity(record.config.decoder))
  config = dataclasses.replace(record.config, decoder=decoder)
  parts = {
    'showo': ('model/', config, record.sizes.lengths.max_text),
    'magvitv2': ('tokenizer/', record.sizes.tokenizer, 0),
  }
  if kind not in parts:
    raise ValueError(f'{path} must be of kind {kind}, got a trained model')
  part, sizes, max_text = parts[kind]
  return ConversionRecord(
    kind=kind,
    sizes=sizes,
    max_text=max_text,
    dtype='float32',
    source=record.source,
    sha256={'checkpoint': record.sha256},
    part=part,
  )


def _corrected(path, record):
  """Returns a record whose hash and dtype are those of the arrays.

  Earlier releases of `learn` copied both from the model that a run started
  from. Their checkpoint is in the folder of a run, a conversion is not.
  """
  if not (storage.path(path).parent / 'settings.json').exists():
    return record
  sums = json.dumps(checkpoint.array_hashes(path), sort_keys=True)
  return dataclasses.replace(
    record,
    dtype='float32',
    sha256={'checkpoint': hashlib.sha256(sums.encode()).hexdigest()},
  )


def restore_model(path: str, record: ConversionRecord, mesh=None):
  """Restores a network onto a mesh.

  Args:
    path: checkpoint folder.
    record: checkpoint record. A checkpoint of an earlier training run
      has no sizes: then the record of the model that the run started from.
    mesh: device mesh from `sharding.make_mesh`; None for one device.

  Returns:
    The module; each device holds only its shards at any time.

  Raises:
    ValueError: the arrays do not fit the sizes, or are damaged.
  """
  abstract = record.abstract()
  return checkpoint.restore(
    path, abstract, trained_model.leaf_shardings(abstract, mesh), record.part
  )


def content_hash(path: str, kind: str, tokenizer: str) -> str:
  """Returns a SHA-256 over the arrays and the tokenizer of a model, in hex.

  Args:
    path: checkpoint folder.
    kind: kind of the model, from its record.
    tokenizer: tokenizer as JSON.

  Raises:
    ValueError: see `checkpoint.array_hashes`.
  """
  content = {
    'arrays': checkpoint.array_hashes(path),
    'kind': kind,
    'tokenizer': tokenizer,
  }
  return hashlib.sha256(
    json.dumps(content, sort_keys=True).encode()
  ).hexdigest()
