"""Converted checkpoints: what they hold, and straight onto a mesh.

They are checkpoints (checkpoint.py) of one model each, whose record says its
kind, its sizes, and which files it came from.
"""

import dataclasses
from typing import Any

from flax import nnx
import jax

from hermesflow_jax import checkpoint
from hermesflow_jax import settings
from hermesflow_jax import sharding
from hermesflow_jax.models import clip
from hermesflow_jax.models import magvit
from hermesflow_jax.models import showo

# kind: (its sizes, its module)
KINDS = {
    'showo': (showo.ShowOConfig, showo.ShowO),
    'magvitv2': (magvit.MagvitConfig, magvit.Magvit),
    'clip_vision': (clip.ClipConfig, clip.Clip),
}
# How a model is computed, not what it is.
UNSAID = ('dtype', 'remat', 'unroll', 'attention')


@dataclasses.dataclass(frozen=True)
class Record:
  """What a converted checkpoint says of itself.

  Attributes:
    kind: of KINDS.
    sizes: the config of the module.
    max_text: text tokens of t2i rows; 0 where there are none.
    dtype: of the tensors it came from; its arrays are float32.
    source: where it came from.
    sha256: the sum of each file by name.
  """

  kind: str
  sizes: Any
  max_text: int
  dtype: str
  source: str
  sha256: dict[str, str]

  def meta(self) -> dict:
    """Returns JSON for `checkpoint.save`; `read` takes it back."""
    return {'converted': dataclasses.asdict(self) | {
        'sizes': _said(dataclasses.asdict(self.sizes))
    }}

  def abstract(self):
    """Returns the model as shapes, without any memory."""
    module = KINDS[self.kind][1]
    return nnx.eval_shape(lambda: module(self.sizes, rngs=nnx.Rngs(0)))


def _said(sizes):
  return {
      name: _said(value) if isinstance(value, dict) else value
      for name, value in sizes.items() if name not in UNSAID
  }


def read(path: str, kind: str) -> Record:
  """Returns what a converted checkpoint says of itself.

  Args:
    path: its folder.
    kind: what it wants to be.

  Raises:
    ValueError: it is not readable, was not converted, or is of another kind.
  """
  found = checkpoint.meta(path)
  found = found.get('converted') if isinstance(found, dict) else None
  if not isinstance(found, dict) or found.get('kind') not in KINDS:
    raise ValueError(f'checkpoint {path} does not say its sizes')
  if found['kind'] != kind:
    raise ValueError(f'{path} is of kind {found["kind"]}, wanted {kind}')
  try:
    sizes = settings.build(KINDS[kind][0], found['sizes'], 'sizes')
    return Record(**found | {'sizes': sizes})
  # Another release may say other things.
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(
        f'checkpoint {path} does not say its sizes as wanted here: {error}'
    ) from error


def restore(path: str, record: Record, mesh=None, part: str = ''):
  """Reads the model of a checkpoint onto a mesh.

  Args:
    path: its folder.
    record: its own; or, for a checkpoint of a training run, which does not
      say its sizes, that of the model it began from.
    mesh: from `sharding.make_mesh`; None: one device.
    part: see `checkpoint.restore`.

  Returns:
    The module, never whole on one device of a mesh that splits it.

  Raises:
    ValueError: the arrays do not fit the sizes, or are damaged.
  """
  abstract = record.abstract()
  if mesh is None:
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    placed = jax.tree.map(lambda _: one, abstract)
  else:
    placed = sharding.shardings(abstract, mesh)
  return checkpoint.restore(path, abstract, placed, part)
