"""The models that a job compares: located, named and hashed."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib
import re

from hermesflow_jax.data import input_faults
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.runtime import terminal


@dataclasses.dataclass(frozen=True)
class EvaluatedModel:
  """A model among others.

  Attributes:
    name: name in tables and of folders: the end of its path.
    config: settings of a job that starts from it.
    path: model folder.
  """

  name: str
  config: job_model.ModelSettings
  path: pathlib.PurePath


def locate(
  config: job_model.ModelSettings,
  folders: Sequence[str],
  console: terminal.Console,
) -> list[EvaluatedModel]:
  """Returns the models that settings name, in order.

  Args:
    config: job settings; a model takes the place of `init_from`.
    folders: folders of models or runs.
    console: see `job_model.locate`.

  Raises:
    ValueError: names every model that is missing.
  """
  faults, models = [], []
  for folder in folders:
    own = dataclasses.replace(config, init_from=folder)
    path = input_faults.attempt(faults, job_model.locate, own, console)
    models.append((own, path))
  input_faults.raise_if_any(faults)
  names = _distinct_names(folders)
  return [
    EvaluatedModel(name, own, path)
    for name, (own, path) in zip(names, models, strict=True)
  ]


def tokenizer_hashes_of(
  models: Sequence[EvaluatedModel],
) -> dict[str, Callable]:
  """Returns `contents` of `workdir_claim.claim_workdir` for text tokenizers.

  All processes call it: they open a model together.

  Args:
    models: located models.
  """
  hashes = '/'.join(
    model_hashes.text_identity(model.config, model.path).sha256
    for model in models
  )
  return {'text_tokenizer': lambda: hashes}


def _distinct_names(folders) -> list[str]:
  """Returns the shortest ends of paths that differ, fit for file names."""
  parts = [
    [p for p in re.split(r'[/\\:]+', folder) if p and p != '..']
    for folder in folders
  ]
  for size in range(1, max(map(len, parts), default=1) + 1):
    names = ['_'.join(names[-size:]) or 'model' for names in parts]
    names = [re.sub(r'[^A-Za-z0-9._-]+', '_', name) for name in names]
    if len(set(names)) == len(names):
      return names
  return [f'{number}_{name}' for number, name in enumerate(names)]
