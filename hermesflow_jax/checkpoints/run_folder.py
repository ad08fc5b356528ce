"""Newest model in a run folder, and newest adapters.

job         model
pair_dpo    checkpoints/<round> of the newest finished round
learn       model/
pretrain    model/; in earlier releases the exported bundle
tokenizer   the exported bundle

job         adapters, if the run trained LoRA
pair_dpo    round_<n>/training/adapters of the newest round
learn       training/adapters
"""

import json
import pathlib

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage


def newest_model(name: str | pathlib.PurePath) -> pathlib.PurePath:
  """Returns a model folder.

  All processes call it.

  Args:
    name: folder of a run, or of a model, which is returned.

  Raises:
    ValueError: the run has no model yet, or `name` is a folder within a run
      that holds no model.
  """
  return storage.path(
    processes.broadcast_from_first(lambda: str(_model_of(name)))
  )


def newest_adapters(name: str | pathlib.PurePath) -> pathlib.PurePath | None:
  """Returns a folder with LoRA adapters; None if there is none.

  All processes call it.

  Args:
    name: folder of a run that trained adapters, or of adapters, which is
      returned.
  """
  path = storage.path(name)
  place = processes.broadcast_from_first(lambda: _place_of_adapters(path))
  return None if place is None else path / place


def _place_of_adapters(path) -> str | None:
  rounds = sorted(
    int(part.removeprefix('round_'))
    for part in storage.list_names(path)
    if part.startswith('round_') and part.removeprefix('round_').isdecimal()
  )
  places = ['', 'adapters', 'training/adapters']
  places += [f'round_{n}/training/adapters' for n in reversed(rounds)]
  for place in places:
    if checkpoint.is_checkpoint(str(path / place)):
      return place
  return None


def saved_rounds(path: pathlib.PurePath) -> list[int]:
  """Returns the numbers of the rounds of a run that have a model, in order.

  Args:
    path: run folder.
  """
  folder = path / 'checkpoints'
  numbers = sorted(int(n) for n in storage.list_names(folder) if n.isdecimal())
  return [n for n in numbers if checkpoint.exists(folder / str(n))]


def _model_of(name):
  path = storage.path(name)
  if checkpoint.is_checkpoint(str(path)) or (path / 'config.json').is_file():
    return path
  if rounds := saved_rounds(path):
    return path / 'checkpoints' / str(rounds[-1])
  settings = _settings(path)
  if settings is None:
    _check_part_of_run(path)
    return path
  if 'play' in settings:
    raise ValueError(
      f'the run in {path} has no finished round yet; run the same command '
      'again to continue'
    )
  # Settings that only a job which trains a model has.
  if settings.keys().isdisjoint(('pairs', 'export', 't2i')):
    raise ValueError(f'the run in {path} trains no model')
  if not (path / 'results.json').exists():
    raise ValueError(
      f'the run in {path} is not finished, and has no model yet; run the same '
      'command again to continue'
    )
  if 'export' not in settings or storage.list_names(path / 'model'):
    return path / 'model'
  return storage.path(settings['export'])


def _check_part_of_run(path):
  """Raises ValueError for a folder of a self-play run that is no model.

  E.g. `round_1`, which holds pairs and measurements, and `checkpoints`.
  """
  part = path.name == 'checkpoints' or path.name.startswith('round_')
  rounds = saved_rounds(path.parent) if part and path.exists() else []
  if not rounds:
    return
  round_name = path.name.removeprefix('round_')
  number = round_name if round_name in map(str, rounds) else rounds[-1]
  raise ValueError(
    f'{path} holds no model; give {path.parent}, or '
    f'{path.parent}/checkpoints/{number}'
  )


def _settings(path):
  """Returns the settings of the run in a folder; None if it holds no run."""
  file = path / 'settings.json'
  if not file.is_file():
    return None
  try:
    settings = json.loads(file.read_text())
  except (ValueError, RecursionError):
    return None
  return settings if isinstance(settings, dict) else None
