"""Converted checkpoints: what they hold, and straight onto a mesh.

They are checkpoints (checkpoint.py) of one model each, whose record says its
kind, its sizes, and which files it came from. The parts of a trained model
(trained.py) are read in the same way.
"""

import dataclasses
import hashlib
import json
from typing import Any

from flax import nnx

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.models import clip
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage

# kind: (its sizes, its module)
KINDS = {
  'showo': (showo.ShowOConfig, showo.ShowO),
  'magvitv2': (magvit_config.MagvitConfig, magvit.Magvit),
  'clip_vision': (clip.ClipConfig, clip.Clip),
}


@dataclasses.dataclass(frozen=True)
class ConversionRecord:
  """What a converted checkpoint says of itself.

  Attributes:
    kind: of KINDS.
    sizes: the config of the module.
    max_text: text tokens of t2i rows; 0 where there are none.
    dtype: of the tensors it came from; its arrays are float32.
    source: where it came from.
    sha256: the sum of each file by name.
    part: what the names of its arrays begin with in the checkpoint, e.g.
      'model/' in a trained model; not written.
  """

  kind: str
  sizes: Any
  max_text: int
  dtype: str
  source: str
  sha256: dict[str, str]
  part: str = ''

  def meta(self) -> dict:
    """Returns JSON for `checkpoint.save`; `read_record` takes it back."""
    record = dataclasses.asdict(self)
    del record['part']
    return {
      'converted': record | {'sizes': settings.model_identity(self.sizes)}
    }

  def abstract(self):
    """Returns the model as shapes, without any memory."""
    module = KINDS[self.kind][1]
    return nnx.eval_shape(lambda: module(self.sizes, rngs=nnx.Rngs(0)))


def read_record(path: str, kind: str) -> ConversionRecord:
  """Returns the record of a converted checkpoint, or of a trained model's part.

  Args:
    path: its folder.
    kind: of KINDS; of a trained model, 'showo' and 'magvitv2' are read.

  Raises:
    ValueError: it is not readable, does not say its sizes, or is of another
      kind.
  """
  meta = checkpoint.read_metadata(path)
  if trained_model.is_record(meta):
    return _part(path, kind)
  record = meta.get('converted') if isinstance(meta, dict) else None
  if not isinstance(record, dict) or record.get('kind') not in KINDS:
    raise ValueError(
      f'checkpoint {path} does not say its sizes: it is of a run of an '
      'earlier release, which wrote the transformer alone. Give '
      '`python -m conversions.convert showo` this folder with --reverse and '
      '--sizes (the model that the run started from), and convert the result'
    )
  if record['kind'] != kind:
    raise ValueError(f'{path} is of kind {record["kind"]}, wanted {kind}')
  try:
    sizes = settings.build(KINDS[kind][0], record['sizes'], 'sizes')
    record = ConversionRecord(**record | {'sizes': sizes})
  # Another release may say other things.
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
      f'checkpoint {path} does not say its sizes as wanted here: {error}'
    ) from error
  return _corrected(path, record)


def _part(path, kind):
  """Returns the record of a trained model's transformer or tokenizer."""
  whole = trained_model.read_record(path)
  # As of a converted one: how it was computed is the reader's to say.
  decoder = phi.PhiConfig(**settings.model_identity(whole.config.decoder))
  config = dataclasses.replace(whole.config, decoder=decoder)
  parts = {
    'showo': ('model/', config, whole.sizes.lengths.max_text),
    'magvitv2': ('tokenizer/', whole.sizes.tokenizer, 0),
  }
  if kind not in parts:
    raise ValueError(f'{path} is a trained model, wanted {kind}')
  part, sizes, max_text = parts[kind]
  return ConversionRecord(
    kind=kind,
    sizes=sizes,
    max_text=max_text,
    dtype='float32',
    source=whole.source,
    sha256={'checkpoint': whole.sha256},
    part=part,
  )


def _corrected(path, record):
  """Returns the record of what `learn` wrote in earlier releases as it is.

  It was stamped with the sums and the type of the files that its start was
  converted from. It stands in the folder of a run, a conversion does not.
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
  """Reads the model of a checkpoint onto a mesh.

  Args:
    path: its folder.
    record: its own; or, for a checkpoint of a training run, which does not
      say its sizes, that of the model it began from.
    mesh: from `sharding.make_mesh`; None: one device.

  Returns:
    The module, never whole on one device of a mesh that splits it.

  Raises:
    ValueError: the arrays do not fit the sizes, or are damaged.
  """
  abstract = record.abstract()
  return checkpoint.restore(
    path, abstract, trained_model.leaf_shardings(abstract, mesh), record.part
  )
