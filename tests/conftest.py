"""Eight CPU devices and exact matrix products for every test."""

import os

os.environ.setdefault(
    'XLA_FLAGS', '--xla_force_host_platform_device_count=8')

import pathlib

import jax
import pytest

jax.config.update('jax_default_matmul_precision', 'highest')
if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)


@pytest.fixture(scope='session')
def goldens() -> pathlib.Path:
  """The folder of golden activations of the official implementation."""
  return pathlib.Path(__file__).parent / 'goldens'
