"""LoRA adapters as a checkpoint folder."""

import dataclasses

import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.models import lora
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding


def save_adapters(
  path: str, adapters: lora.Adapters, config: lora.Lora, model, source: str = ''
) -> None:
  """Writes adapters, and the fingerprint of the model that they belong to.

  Args:
    path: see `checkpoint.save`.
    adapters: adapters of `lora.init_adapters`.
    config: their rank, scale and targets.
    model: the frozen ShowO that they were trained beside.
    source: folder that they were converted from; '' if they were trained here.
  """
  record = {
    'lora': dataclasses.asdict(config),
    'model': fingerprints.fingerprint(model.decoder),
  }
  if source:
    record['source'] = source
  checkpoint.save(path, adapters, record)


def read_config(path: str) -> lora.Lora:
  """Returns the rank, the scale and the targets of saved adapters.

  Args:
    path: checkpoint folder.

  Raises:
    ValueError: the checkpoint is damaged, or holds no adapters.
  """
  return settings.build(lora.Lora, _record(path)['lora'], 'lora')


def _record(path: str) -> dict:
  record = checkpoint.read_metadata(path)
  if not isinstance(record, dict) or 'lora' not in record:
    raise ValueError(f'checkpoint {path} holds no adapters')
  return record


def read_adapters(path: str, model, mesh) -> tuple[lora.Adapters, lora.Lora]:
  """Restores adapters that `save_adapters` wrote.

  Args:
    path: checkpoint folder.
    model: the ShowO that they were trained beside.
    mesh: device mesh.

  Returns:
    (adapters, their config).

  Raises:
    ValueError: the checkpoint is damaged, holds no adapters, or adapters of
      another model.
  """
  record = _record(path)
  if record['model'] != fingerprints.fingerprint(model.decoder):
    raise ValueError(
      f'the adapters in {path} were trained with another model; give the model '
      'that they were trained with (of a later round: the model of the round '
      'before)'
    )
  config = settings.build(lora.Lora, record['lora'], 'lora')
  abstract = jax.eval_shape(
    lambda: lora.init_adapters(model, config, jax.random.key(0))
  )
  return checkpoint.restore(
    path, abstract, sharding.shardings(abstract, mesh)
  ), config
