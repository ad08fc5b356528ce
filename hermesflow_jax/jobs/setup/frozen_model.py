"""The frozen reference model of `learn`."""

import dataclasses
import pathlib

import jax

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import unified_model


def reference_settings(config):
  """Returns settings that load the frozen reference model.

  Returns None if the reference is the model that the round starts from.
  """
  if not config.reference:
    return None
  return dataclasses.replace(config, init_from=config.reference, adapters='')


def load_reference(
  config, path: pathlib.PurePath, unified: unified_model.UnifiedModel
) -> showo.ShowO:
  """Returns the frozen reference model, sharded like the trained model.

  Args:
    config: settings from `reference_settings`.
    path: folder from `job_model.locate`.
    unified: the model to train.

  Raises:
    ValueError: weights differ from the trained model in name or shape.
  """
  model = job_model.load_parts(config, path, unified.mesh).model
  placed = sharding.shardings(unified.model, unified.mesh)
  if _shapes(model) != _shapes(unified.model):
    raise ValueError(
      'reference must be a model of the sizes of init_from, got '
      f'{config.init_from}; give the model that the rounds started from'
    )
  return jax.device_put(model, placed)


def _shapes(model) -> dict[str, tuple[int, ...]]:
  """Returns weight shapes by name."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(model)
  return {sharding.path_name(path): leaf.shape for path, leaf in leaves}
