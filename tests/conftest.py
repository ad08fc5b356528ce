"""Eight CPU devices and exact matrix products for every test.

Tests compile much and compute little: XLA is told not to optimize, and
compiles five times faster.
"""

import functools
import gc
import importlib.util
import json
import os
import pathlib
import signal
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

_FLAGS = [
  '--xla_force_host_platform_device_count=8',
  '--xla_backend_optimization_level=0',
  # A program is compiled in a single piece: pieces take a fifth more time.
  '--xla_cpu_parallel_codegen_split_count=1',
]
if jax.__version_info__ < (0, 11):
  # Later versions abort on a flag they do not know.
  _FLAGS.append('--xla_cpu_use_fusion_emitters=false')
os.environ.setdefault('XLA_FLAGS', ' '.join(_FLAGS))
# libtpu, where it is there, is held by the first process that looks for a TPU.
jax.config.update('jax_platforms', os.environ.get('JAX_PLATFORMS', 'cpu'))

# Tracing makes many objects and hardly any cycles: by default the collector
# takes a tenth of the time of all tests.
gc.set_threshold(100_000, 20, 100)

import fake_gcs
from grain._src.python.dataset.transformations import shuffle

from conversions.tables import showo_table
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import vocabulary

jax.config.update('jax_default_matmul_precision', 'highest')
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', 0)

# Grain takes 15 ms to place a record among three: tests draw the same orders.
shuffle.index_shuffle.index_shuffle = functools.cache(
  shuffle.index_shuffle.index_shuffle
)

# Folders with the longest tests: workers that begin with them end together.
_LONGEST = ('whole_runs', 'checkpoints', 'self_play', 'sampling', 'experiments')
# Two workers take turns: each pair of files that share a run goes to one of
# them, and neither waits for a run of the other.
_FIRST_FILES = (
  'test_small_show_o_rounds.py',
  'test_reliability.py',
  'test_small_show_o_use.py',
  'test_buckets.py',
)

# Seconds by file: the key in pytest's cache, and those of this run.
_SECONDS = 'hermesflow_jax/seconds'
_durations = {}


def pytest_configure(config):
  """Keeps compiled programs between runs, and shares them among workers."""
  # Workers and commands that tests start import the same files: compile once.
  os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
  sys.dont_write_bytecode = False
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    folder = str(config.cache.mkdir('compiled'))
    # Commands that tests start read the variable.
    os.environ['JAX_COMPILATION_CACHE_DIR'] = folder
    jax.config.update('jax_compilation_cache_dir', folder)


def pytest_xdist_auto_num_workers(config):
  """Returns the number of workers: a core each, at most 8.

  Files that are named, and tests whose output is shown (-s), run in this
  process.
  """
  named = any(
    argument.partition('::')[0].endswith('.py') for argument in config.args
  )
  if named or config.option.capture == 'no':
    return 0
  return min(8, len(os.sched_getaffinity(0)))


def pytest_collection_modifyitems(config, items):
  """Puts the longest files first, so that all workers end together.

  Durations come from the last run; a file that has none takes its place by
  folder.
  """

  def place(names, parts):
    return min((names.index(p) for p in parts if p in names), default=99)

  seconds = config.cache.get(_SECONDS, {}) if _has_workers(config) else {}

  def rank(item):
    parts = item.path.parts
    folder = place(_LONGEST, parts)
    usual = 6.0 if folder < 99 else 2.0
    duration = seconds.get(item.nodeid.partition('::')[0], usual)
    return place(_FIRST_FILES, parts), -duration, folder, str(item.path)

  items.sort(key=rank)


def _has_workers(config) -> bool:
  return hasattr(config, 'workerinput') or bool(config.option.numprocesses)


def pytest_runtest_logreport(report):
  """Adds the duration of a test to that of its file."""
  name = report.nodeid.partition('::')[0]
  _durations[name] = _durations.get(name, 0.0) + report.duration


def pytest_sessionfinish(session):
  """Keeps the durations for the next run; workers leave that to their head."""
  config = session.config
  if not hasattr(config, 'workerinput') and _has_workers(config):
    known = config.cache.get(_SECONDS, {})
    config.cache.set(_SECONDS, known | _durations)


def pytest_collection_finish():
  """Hides all imported objects from the garbage collector."""
  gc.freeze()


# Linux gives a process 65,530 memory maps. Each compiled program keeps some, and
# jaxlib crashes when there is none left.
_MOST_MAPS = 30_000


@pytest.fixture(scope='module', autouse=True)
def few_programs():
  """Forgets compiled programs before there are too many."""
  yield
  maps = pathlib.Path('/proc/self/maps')
  if maps.exists() and len(maps.read_bytes().splitlines()) > _MOST_MAPS:
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def interruptible():
  """Started in the background by a shell, tests and their children ignore
  SIGINT; children of a process that handles it do not."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.fixture(scope='session')
def goldens() -> pathlib.Path:
  """The folder of golden activations of the official implementation."""
  return pathlib.Path(__file__).parent / 'goldens'


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
