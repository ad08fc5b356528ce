"""Cores are counted on every system."""

import os

from hermesflow_jax.command import program
from hermesflow_jax.runtime import processor_cores


def test_a_limit_counts(monkeypatch):
  monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {3, 5, 6})
  assert processor_cores.usable() == 3


def test_a_system_without_limits_has_all_cores(monkeypatch):
  """As macOS."""
  monkeypatch.delattr(os, 'sched_getaffinity')
  monkeypatch.setattr(os, 'cpu_count', lambda: 10)
  assert processor_cores.usable() == 10
  monkeypatch.delenv('XLA_FLAGS', raising=False)
  for name in ('TRANSFORMERS_VERBOSITY', 'TRANSFORMERS_NO_ADVISORY_WARNINGS'):
    monkeypatch.setenv(name, '')
  program.set_environment()
  assert os.environ['XLA_FLAGS'].endswith('device_count=8')


def test_unknown_cores_count_as_one(monkeypatch):
  monkeypatch.delattr(os, 'sched_getaffinity')
  monkeypatch.setattr(os, 'cpu_count', lambda: None)
  assert processor_cores.usable() == 1
