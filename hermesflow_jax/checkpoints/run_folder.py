"""The model that the folder of a run holds.

pair_dpo    checkpoints/<round>, of which the newest is taken
learn       model/
pretrain    model/, in earlier releases the bundle that it exported
tokenizer   the bundle that it exported
"""

import json
import pathlib

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage


def newest_model(name: str | pathlib.PurePath) -> pathlib.PurePath:
  """Returns the folder of a model.

  All processes call it.

  Args:
    name: the folder of a model, which is returned, or that of a run.

  Raises:
    ValueError: it is the folder of a run that has written no model.
  """
  return storage.path(
    processes.broadcast_from_first(lambda: str(_model_of(name)))
  )


def _model_of(name):
  path = storage.path(name)
  if checkpoint.is_checkpoint(str(path)) or (path / 'config.json').is_file():
    return path
  if rounds := finished_rounds(path):
    return path / 'checkpoints' / str(rounds[-1])
  settings = _settings(path)
  if settings is None:
    return path
  if 'play' in settings:
    raise ValueError(
      f'the run in {path} has no finished round yet; its same command goes on'
    )
  if 'pairs' not in settings and 'export' not in settings:
    raise ValueError(f'the run in {path} trains no model')
  if not (path / 'results.json').exists():
    raise ValueError(
      f'the run in {path} is not finished, and has no model yet; its same '
      'command goes on'
    )
  if 'pairs' in settings or storage.list_names(path / 'model'):
    return path / 'model'
  return storage.path(settings['export'])


def finished_rounds(path: pathlib.PurePath) -> list[int]:
  """Returns the numbers of the rounds that a run has learned, in order."""
  folder = path / 'checkpoints'
  numbers = sorted(int(n) for n in storage.list_names(folder) if n.isdecimal())
  return [n for n in numbers if checkpoint.exists(folder / str(n))]


def _settings(path):
  """Returns the settings of the run in a folder; None if there is no run."""
  file = path / 'settings.json'
  if not file.is_file():
    return None
  try:
    settings = json.loads(file.read_text())
  except ValueError:
    return None
  return settings if isinstance(settings, dict) else None
