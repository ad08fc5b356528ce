"""LoRA adapters as a checkpoint folder."""

import dataclasses

import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.models import lora
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding


def save_adapters(
  path: str, adapters: lora.Adapters, config: lora.Lora, model
) -> None:
  """Writes adapters alone, and which model they belong to.

  Args:
    path: see `checkpoint.save`.
    adapters: of `init`.
    config: which they are.
    model: the frozen ShowO that they were trained beside.
  """
  checkpoint.save(
    path,
    adapters,
    {
      'lora': dataclasses.asdict(config),
      'model': fingerprints.fingerprint(model.decoder),
    },
  )


def read_adapters(path: str, model, mesh) -> tuple[lora.Adapters, lora.Lora]:
  """Reads what `save_adapters` wrote, for a model.

  Args:
    path: of the checkpoint.
    model: the ShowO that they were trained beside.
    mesh: where the adapters go.

  Raises:
    ValueError: it holds no adapters, or those of another model; it is damaged.
  """
  found = checkpoint.read_metadata(path)
  if not isinstance(found, dict) or 'lora' not in found:
    raise ValueError(f'checkpoint {path} holds no adapters')
  if found['model'] != fingerprints.fingerprint(model.decoder):
    raise ValueError(
      f'the adapters of {path} were trained beside another model (those of '
      'a later round want the model of the round before)'
    )
  config = settings.build(lora.Lora, found['lora'], 'lora')
  abstract = jax.eval_shape(
    lambda: lora.init_adapters(model, config, jax.random.key(0))
  )
  return checkpoint.restore(
    path, abstract, sharding.shardings(abstract, mesh)
  ), config
