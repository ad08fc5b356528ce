"""Eight CPU devices, workers that share programs, and the order of files.

Tests compile much and compute little: XLA is told not to optimize, and
compiles five times faster. Tests that compute for long are marked `optimized`.
"""

import atexit
import gc
import importlib
import importlib.metadata
import os
import sys

import worker_schedule

from hermesflow_jax.runtime import processor_cores

_FLAGS = [
  '--xla_force_host_platform_device_count=8',
  # Of programs that are optimized at all.
  '--xla_backend_optimization_level=1',
  # A program is compiled in a single piece: pieces take a fifth more time.
  '--xla_cpu_parallel_codegen_split_count=1',
]
if importlib.metadata.version('jax').startswith('0.10.'):
  # Later versions abort on a flag they do not know.
  _FLAGS.append('--xla_cpu_use_fusion_emitters=false')
# Set before JAX is imported, also by the conftest.py of a folder, and for the
# processes that tests start.
os.environ.setdefault('XLA_FLAGS', ' '.join(_FLAGS))
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# Its default. Jobs let malloc keep freed memory unless such a name is set; a
# worker gives back the memory of programs that it forgets.
os.environ.setdefault('MALLOC_PERTURB_', '0')

# Tracing makes many objects and hardly any cycles: by default the collector
# takes a tenth of the time of all tests. Garbage is collected after each file.
gc.set_threshold(1_000_000, 100, 100)

# Seconds by file: the key in pytest's cache, and those of this run.
_SECONDS = 'hermesflow_jax/seconds'
_durations = {}


def pytest_configure(config):
  """Keeps compiled programs between runs, and shares them among workers.

  The process that directs workers imports no JAX.
  """
  # Workers and commands that tests start import the same files: compile once.
  os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
  sys.dont_write_bytecode = False
  if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    folder = str(config.cache.mkdir('compiled'))
    # Workers and commands that tests start read the variable.
    os.environ['JAX_COMPILATION_CACHE_DIR'] = folder
  if not _is_head(config):
    config.pluginmanager.register(importlib.import_module('shared_fixtures'))


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
  return min(8, processor_cores.usable())


def pytest_xdist_make_scheduler(config, log):
  """Keeps files that share programs in one worker."""
  if config.getoption('dist') == 'loadfile':
    return worker_schedule.FromBothEnds(config, log)
  return None


def pytest_collection_modifyitems(config, items):
  """Sorts files by folder and by their duration in the last run."""
  seconds = config.cache.get(_SECONDS, {}) if _is_worker(config) else {}

  def rank(item):
    duration = seconds.get(item.nodeid.partition('::')[0], 2.0)
    return worker_schedule.sort_key(item.path, duration)

  items.sort(key=rank)


def _is_worker(config) -> bool:
  return hasattr(config, 'workerinput')


def _is_head(config) -> bool:
  """Returns whether this process directs workers, and runs no test itself."""
  option = config.option
  directs = bool(option.numprocesses) and not option.collectonly
  return directs and not _is_worker(config)


def pytest_runtest_logreport(report):
  """Adds the duration of a test to that of its file."""
  name = report.nodeid.partition('::')[0]
  _durations[name] = _durations.get(name, 0.0) + report.duration


def pytest_sessionfinish(session):
  """Keeps the durations for the next run, and ends workers at once."""
  config = session.config
  if _is_head(config):
    known = config.cache.get(_SECONDS, {})
    config.cache.set(_SECONDS, known | _durations)
  elif _is_worker(config):
    # To collect gigabytes and to remove all programs takes ten seconds.
    gc.freeze()
    atexit.register(os._exit, 0)


def pytest_collection_finish():
  """Hides all imported objects from the garbage collector."""
  gc.freeze()
