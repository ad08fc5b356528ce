"""Modules that are executed at their first use, not where they are imported.

  with lazy_modules.on_first_use():
    from hermesflow_jax.reports import run_page

binds the module `run_page`. Its code, and that of the modules that it imports,
runs when an attribute is first read. So a command reads its settings before it
waits for what computes. `importlib.util.LazyLoader` does the same, but until
python 3.11.9 a second thread may see a module that is half executed.
"""

from collections.abc import Iterator
import contextlib
import importlib.abc
import importlib.machinery
import sys
import threading
import types


class _LazyModule(types.ModuleType):
  """A module that is not executed yet."""

  def __getattribute__(self, name):
    _execute(self)
    return types.ModuleType.__getattribute__(self, name)

  def __setattr__(self, name, value):
    _execute(self)
    types.ModuleType.__setattr__(self, name, value)

  def __delattr__(self, name):
    _execute(self)
    types.ModuleType.__delattr__(self, name)


class _LazyLoader(importlib.abc.Loader):
  """Delays the execution of a module.

  Args:
    loader: loader of the module.
  """

  def __init__(self, loader: importlib.abc.Loader):
    self._loader = loader
    # The thread that executes the module reads its attributes meanwhile.
    self._lock = threading.RLock()
    self._begun = False

  def create_module(self, spec):
    """Returns the module, without content."""
    return self._loader.create_module(spec)

  def exec_module(self, module):
    """Leaves the module for its first use."""
    module.__class__ = _LazyModule

  def execute(self, module) -> None:
    """Executes the module, unless this was done; other threads wait."""
    with self._lock:
      if self._begun:
        return
      self._begun = True
      spec = types.ModuleType.__getattribute__(module, '__spec__')
      try:
        spec.loader = self._loader
        types.ModuleType.__setattr__(module, '__loader__', self._loader)
        self._loader.exec_module(module)
        types.ModuleType.__setattr__(module, '__class__', types.ModuleType)
      except BaseException:
        # E.g. a stop by the user: the next use tries again.
        spec.loader, self._begun = self, False
        raise


def _execute(module):
  spec = types.ModuleType.__getattribute__(module, '__spec__')
  if isinstance(spec.loader_state, _LazyLoader):
    spec.loader_state.execute(module)


class _LazyFinder:
  """Finds modules of packages, and delays their execution."""

  @staticmethod
  def find_spec(name, path=None, target=None):
    """Returns the spec of a module; None for packages, which are not slow."""
    spec = importlib.machinery.PathFinder.find_spec(name, path, target)
    if spec is None or spec.loader is None or spec.submodule_search_locations:
      return None
    spec.loader = spec.loader_state = _LazyLoader(spec.loader)
    return spec


@contextlib.contextmanager
def on_first_use() -> Iterator[None]:
  """Delays the execution of the modules that are imported in the context.

  A thread that imports a module for the first time meanwhile gets a module that
  works in the same way.
  """
  finder = _LazyFinder()
  sys.meta_path.insert(0, finder)
  try:
    yield
  finally:
    sys.meta_path.remove(finder)
