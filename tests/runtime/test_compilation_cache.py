"""Programs are kept in the user's cache folder, unless the user decides."""

import types

import pytest

from hermesflow_jax.runtime import compilation_cache


@pytest.fixture
def options(monkeypatch, tmp_path):
  """Options of JAX that were set; `jax_compilation_cache_dir` may be changed."""
  options = {'jax_compilation_cache_dir': None}
  monkeypatch.setattr(
    compilation_cache, 'jax', types.SimpleNamespace(config=_Config(options))
  )
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return options


class _Config:
  def __init__(self, options):
    self._options, self.update = options, options.__setitem__

  def __getattr__(self, name):
    return self._options[name]


def test_programs_are_kept_for_this_kind_of_processor(options, tmp_path):
  compilation_cache.enable()
  (folder,) = (tmp_path / 'cache' / 'hermesflow_jax').iterdir()
  assert options['jax_compilation_cache_dir'] == str(folder)
  assert folder.stat().st_mode & 0o077 == 0
  assert options['jax_compilation_cache_max_size'] == 2**30


def test_a_folder_of_the_user_stays(options, tmp_path):
  options['jax_compilation_cache_dir'] = ''
  compilation_cache.enable()
  assert options == {'jax_compilation_cache_dir': ''}
  assert not (tmp_path / 'cache').exists()


def test_a_cache_folder_that_cannot_be_made_costs_nothing(options, tmp_path):
  (tmp_path / 'cache').write_text('a file')
  compilation_cache.enable()
  assert options == {'jax_compilation_cache_dir': None}
