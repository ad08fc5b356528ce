"""Loads a model that is ready to draw, caption and answer."""

import jax

from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model


def load_model(
  path: str = 'assets:shapes',
  *,
  tokenizer: str = '',
  text: str = '',
  sizes: model_folder.Sizes | None = None,
  mesh: jax.sharding.Mesh | None = None,
  chunk: int = 32,
) -> unified_model.UnifiedModel:
  """Loads a model and places it on the devices.

  Args:
    path: 'assets:<name>' for a shipped model, the folder of a trained model,
      the folder of a run (its newest model), or a converted Show-o.
    tokenizer: image tokenizer, only for a converted Show-o.
    text: folder with the text tokenizer, only for a converted Show-o.
    sizes: model sizes, only for a converted Show-o.
    mesh: device mesh; None splits batches over all devices.
    chunk: images or texts that a device samples at once, at most.

  Returns:
    The model at work: `draw`, `describe`, `reply`, `answer`, `encode`,
    `decode`.

  Raises:
    ValueError: the model is missing or damaged, or its parts do not fit.
  """
  if path.startswith('assets:'):
    folder = initial_model.ASSETS / path.removeprefix('assets:')
  else:
    folder = run_folder.newest_model(path)
  if not storage.path(folder).exists():
    raise ValueError(
      f'path must name a model, got {path}; give the folder of a model or of '
      "a run, or 'assets:shapes'"
    )
  mesh = sharding.make_mesh() if mesh is None else mesh
  parts = initial_model.open(folder).load(sizes, mesh, tokenizer, text)
  return unified_model.place_on_mesh(
    parts, mesh, chunk, progress=terminal.silent().progress
  )
