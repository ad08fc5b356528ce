"""Freed memory stays in the process, where nothing else is asked for."""

import pytest

from hermesflow_jax.runtime import freed_memory


@pytest.fixture
def options(monkeypatch):
  """The options that a plain Linux machine without accelerators would set."""
  calls = []

  class Library:
    def mallopt(self, *option):
      calls.append(option)
      return 1

  monkeypatch.delenv('MALLOC_PERTURB_')  # Set by tests/conftest.py.
  monkeypatch.setattr(freed_memory.sys, 'platform', 'linux')
  monkeypatch.setattr(freed_memory.glob, 'glob', lambda pattern: [])
  monkeypatch.setattr(freed_memory.ctypes, 'CDLL', lambda name: Library())
  return calls


def test_malloc_keeps_freed_memory(options):
  assert freed_memory.keep()
  assert (-4, 0) in options and (-8, 1) in options


@pytest.mark.parametrize('name', ['MALLOC_ARENA_MAX', 'GLIBC_TUNABLES'])
def test_options_of_the_user_stay(options, monkeypatch, name):
  monkeypatch.setenv(name, '2')
  assert not freed_memory.keep() and not options


def test_machines_with_accelerators_stay_as_they_are(options, monkeypatch):
  monkeypatch.setattr(
    freed_memory.glob,
    'glob',
    lambda pattern: ['/dev/nvidia0'] if 'nvidia' in pattern else [],
  )
  assert not freed_memory.keep() and not options


def test_other_systems_stay_as_they_are(options, monkeypatch):
  monkeypatch.setattr(freed_memory.sys, 'platform', 'darwin')
  assert not freed_memory.keep() and not options
