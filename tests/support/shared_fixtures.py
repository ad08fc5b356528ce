"""Settings of JAX and fixtures for all tests.

The process that only directs workers does without: it starts them at once.
"""

import ctypes
import functools
import gc
import importlib.util
import json
import os
import pathlib
import signal

from _pytest import runner
import fake_gcs
from grain._src.python.dataset.transformations import shuffle
import jax
import numpy as np
from orbax.checkpoint._src.serialization import tensorstore_utils
import plain_charts
import pytest
import safetensors.numpy

from conversions.tables import showo_table
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import python_stack
from hermesflow_jax.runtime import stop_handlers
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import vocabulary

# libtpu, where it is there, is held by the first process that looks for a TPU.
jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))
jax.config.update('jax_default_matmul_precision', 'highest')
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)
# A nested conftest.py may have imported JAX before pytest's cache was known.
jax.config.update(
  'jax_compilation_cache_dir', os.environ['JAX_COMPILATION_CACHE_DIR']
)

# A file takes 4 ms to reach the disk, and no test cuts the power: test_atomic_file
# checks that files are sent there.
os.fsync = lambda descriptor: None
tensorstore_utils._BASE_TS_CONTEXT['file_io_sync'] = False
tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT['file_io_sync'] = False

# Grain takes 15 ms to place a record among three: tests draw the same orders.
shuffle.index_shuffle.index_shuffle = functools.cache(
  shuffle.index_shuffle.index_shuffle
)

# Below the 60 frames of pytest, tracing took a third more time without.
runner.runtestprotocol = functools.partial(
  python_stack.call, runner.runtestprotocol
)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
  """Chooses how programs of a test and of its fixtures are compiled."""
  optimized = item.get_closest_marker('optimized') is not None
  jax.config.update('jax_disable_most_optimizations', not optimized)


# Linux gives a process 65,530 memory maps. Each compiled program keeps some, and
# jaxlib crashes when there is none left.
_MOST_MAPS = 40_000
# Programs take gigabytes, too, and are forgotten where others need the memory.
_LEAST_FREE, _WORTHWHILE = 3 << 30, 2 << 30
# It takes 20 ms to count maps, so they are counted when memory has grown.
_GROWTH = 1 << 28


class _Usage:
  """Memory of this process; what the system does not tell is not limited."""

  def __init__(self):
    self._counted = 0

  def is_full(self) -> bool:
    """Returns whether the process should forget its programs."""
    status, maps, system = (
      pathlib.Path('/proc', name)
      for name in ('self/statm', 'self/maps', 'meminfo')
    )
    if not all(file.exists() for file in (status, maps, system)):
      return False
    held = int(status.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    fields = dict(line.split(':') for line in system.read_text().splitlines())
    free = int(fields['MemAvailable'].split()[0]) << 10
    if free < _LEAST_FREE and held > _WORTHWHILE:
      return True
    if abs(held - self._counted) < _GROWTH:
      return False
    self._counted = held
    return maps.read_bytes().count(b'\n') > _MOST_MAPS


_USAGE = _Usage()


@pytest.fixture(scope='module', autouse=True)
def few_programs():
  """Collects the garbage of a file, and forgets programs when they are many.

  Objects that outlive their file are looked at once.
  """
  yield
  is_full = _USAGE.is_full()
  if is_full:
    jax.clear_caches()
    gc.unfreeze()
  gc.collect()
  gc.freeze()
  # Freed memory goes back to the system; only the library of Linux can.
  trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
  if is_full and trim:
    trim(0)


@pytest.fixture(scope='session', autouse=True)
def undrawn():
  """Leaves drawings out of reports, but for those of tests/reports."""
  with pytest.MonkeyPatch.context() as patch:
    plain_charts.leave_out(patch)
    yield


@pytest.fixture
def interruptible():
  """Stop signals raise KeyboardInterrupt here, and children do not ignore them.

  In the background of a shell SIGINT is ignored, under nohup and after libtpu
  was loaded SIGHUP is; children inherit that from a process without handlers.
  Python does not see what libtpu sets, so its handlers are not set again.
  """
  before = {n: signal.getsignal(n) for n in stop_handlers.SIGNALS}
  for number in before:
    signal.signal(number, signal.default_int_handler)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.fixture(scope='session')
def goldens() -> pathlib.Path:
  """The folder of golden activations of the official implementation."""
  return pathlib.Path(__file__).parents[1] / 'goldens'


@pytest.fixture(scope='session')
def golden(goldens) -> dict[str, np.ndarray]:
  """The arrays of the official Show-o."""
  with np.load(goldens / 'showo_small' / 'io.npz') as file:
    return dict(file)


@pytest.fixture(scope='session')
def store():
  """An object store that gs:// means; tensorstore asks once where it is."""
  if not importlib.util.find_spec('gcsfs'):
    pytest.skip('needs gcsfs')
  with fake_gcs.Server() as server, pytest.MonkeyPatch.context() as patch:
    for name, value in server.environment.items():
      patch.setenv(name, value)
    # The package chooses settings of gcsfs, so it imports it first.
    storage.path('gs://bucket/folder')
    yield server


@pytest.fixture
def bucket(store):
  """The store, empty; its bucket is `gs://bucket`."""
  store.clear()
  yield store
  store.clear()


def _golden_model(folder, name):
  sizes = json.loads((folder / 'config.json').read_text())
  config = showo.ShowOConfig(
    vocabulary.Vocab(
      sizes['llm_vocab_size'],
      sizes['codebook_size'],
      sizes['special_token_ids']['<|eot|>'],
    ),
    phi.PhiConfig(
      width=sizes['hidden_size'],
      layers=sizes['num_hidden_layers'],
      heads=sizes['num_attention_heads'],
      mlp=sizes['intermediate_size'],
      rotary_fraction=sizes['partial_rotary_factor'],
      rope_theta=sizes['rope_theta'],
      norm_eps=sizes['layer_norm_eps'],
    ),
    sizes['num_vq_tokens'],
  )
  weights = safetensors.numpy.load_file(folder / name)
  return jax.device_put(showo_table.to_jax(weights, config))


@pytest.fixture(scope='session')
def golden_policy(goldens) -> showo.ShowO:
  """The policy of the goldens."""
  return _golden_model(goldens / 'showo_small', 'model.safetensors')


@pytest.fixture(scope='session')
def golden_reference(goldens) -> showo.ShowO:
  """The frozen reference of the goldens."""
  return _golden_model(goldens / 'showo_small', 'reference_model.safetensors')
