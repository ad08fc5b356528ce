"""Runs a measurement of the GPU benchmark in this process."""

from collections.abc import Mapping
import dataclasses
import functools
import importlib.metadata
import os
import pathlib
import platform
import re

import jax
import numpy as np

from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi_config
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import command_run
from hermesflow_jax.performance.benchmark import gpu_measurement
from hermesflow_jax.performance.benchmark import measurement
from hermesflow_jax.performance.benchmark import torch_phi
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.performance.benchmark import workload_times
from hermesflow_jax.runtime import compilation_cache
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import vocabulary

# Training steps whose metrics are compared between two forms.
_VALUE_STEPS = 4
# Larger results are not written, e.g. images.
_MOST_VALUES = 2**24


@dataclasses.dataclass(frozen=True)
class Conditions:
  """Settings that all measurements share.

  Attributes:
    vocab: token ranges. The model has random weights.
    decoder: transformer sizes; a measurement has its own form of them.
    tokenizer: image tokenizer sizes.
    repeats: timed calls after a warm-up call; the median is reported.
    seed: random seed for weights and inputs.
  """

  vocab: vocabulary.Vocab
  decoder: phi_config.PhiConfig
  tokenizer: magvit_config.MagvitConfig
  repeats: settings.PositiveInt
  seed: settings.NonNegativeInt

  def transformer(self, form: gpu_measurement.ModelForm) -> showo.ShowOConfig:
    """Returns the transformer's sizes in a form."""
    return showo.ShowOConfig(self.vocab, form.decoder(self.decoder))


def measure(
  conditions: Conditions,
  entries: Mapping[str, gpu_measurement.Measurement],
  root: pathlib.Path,
  name: str,
) -> dict:
  """Runs a measurement.

  Args:
    conditions: settings that all measurements share.
    entries: measurements by name.
    root: folder, which gets the values of the workload, or the command's run.
    name: the measurement.

  Returns:
    A row of JSON types.

  Raises:
    ValueError: PyTorch is not installed, or the command fails.
  """
  entry = entries[name]
  if entry.command:
    return command_run.run(entry.command, root / file_name(name))
  if entry.baseline == 'torch':
    return _time_torch(conditions, entry) | _machine()
  # The largest part of the memory, before JAX takes it.
  os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.9')
  compilation_cache.enable()
  work, form = entry.workload.workload, entry.form
  models = _models(
    conditions, form, None if entry.workload.pixels is None else True
  )
  if entry.baseline == 'jax':
    return (
      workload_times.time_naive(
        work, models, conditions.repeats, conditions.seed
      )
      | _machine()
    )
  ceiling = _ceiling(form.precision, conditions.repeats)
  row, extras = workload_times.time_ours(
    work,
    models,
    ceiling,
    conditions.repeats,
    conditions.seed,
    _VALUE_STEPS,
    entry.profile,
  )
  _save_values(root / 'values' / f'{file_name(name)}.npz', extras.values)
  if entry.profile:
    row['kernels'] = extras.kernels
  row['ceiling'] = dataclasses.asdict(ceiling)
  return row | _machine()


def file_name(name: str) -> str:
  """Returns a measurement's name as the name of a file or folder."""
  return re.sub(r'\W+', '_', name).strip('_')


def load_values(root: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  """Returns the values that a measurement wrote; {} for none.

  Args:
    root: folder of the benchmark.
    name: name of the measurement.
  """
  file = root / 'values' / f'{file_name(name)}.npz'
  if not file.exists():
    return {}
  with np.load(file) as arrays:
    return dict(arrays)


def _save_values(file, values):
  small = {n: a for n, a in values.items() if a.size <= _MOST_VALUES}
  file.parent.mkdir(parents=True, exist_ok=True)
  np.savez_compressed(file, **small)


@functools.lru_cache(maxsize=1)
def _models(conditions, form, with_tokenizer) -> workload.Models:
  """Returns the models of consecutive measurements in the same form."""
  return workload_times.random_models(
    conditions.transformer(form),
    conditions.tokenizer if with_tokenizer else None,
    conditions.seed,
    form.fused,
  )


@functools.cache
def _ceiling(precision, repeats) -> measurement.Ceiling:
  return measurement.measured_ceiling(
    workload_times.PRECISIONS[precision], repeats
  )


def _time_torch(conditions, entry) -> dict:
  """Times the naive form in PyTorch; JAX keeps the memory free."""
  if not torch_phi.is_installed():
    raise ValueError('PyTorch must be installed for this row, got none')
  os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
  sizes = conditions.transformer(entry.form)
  return {
    'naive_seconds': torch_phi.workload_seconds(
      torch_phi.make_model(sizes, entry.form.precision),
      entry.workload,
      abstract_modules.abstract_module(showo.ShowO, sizes),
      conditions.repeats,
      conditions.seed,
    )
  }


def _machine() -> dict:
  """Returns the device and the versions that a row depends on."""
  device = jax.devices()[0]
  memory = device.memory_stats() or {}
  return {
    'peak_bytes': memory.get('peak_bytes_in_use'),
    'machine': {
      'device': device.device_kind,
      'python': platform.python_version(),
      'jax': jax.__version__,
      'jaxlib': importlib.metadata.version('jaxlib'),
    },
  }
