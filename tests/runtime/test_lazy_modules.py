"""A lazy module is executed once, at its first use, whichever thread uses it."""

import sys
import threading
import types

import pytest

from hermesflow_jax.runtime import lazy_modules


@pytest.fixture
def package(tmp_path, monkeypatch):
  """Name of a package whose module `slow` counts how often it is executed."""
  folder = tmp_path / 'lazy_example'
  folder.mkdir()
  (folder / '__init__.py').write_text('executed = []\n')
  (folder / 'slow.py').write_text(
    'import time\n'
    'from lazy_example import executed\n'
    'executed.append(1)\n'
    'time.sleep(0.05)\n'
    'def answer():\n'
    '  return 42\n'
  )
  (folder / 'broken.py').write_text('import no_such_module\n')
  monkeypatch.syspath_prepend(str(tmp_path))
  yield
  for name in [n for n in sys.modules if n.startswith('lazy_example')]:
    del sys.modules[name]


def test_a_module_is_executed_at_its_first_use(package):
  import lazy_example

  with lazy_modules.on_first_use():
    from lazy_example import slow
  assert lazy_example.executed == []
  assert slow.answer() == 42
  assert lazy_example.executed == [1]
  assert type(slow) is types.ModuleType
  assert sys.modules['lazy_example.slow'] is slow


def test_threads_see_only_whole_modules(package):
  import lazy_example

  with lazy_modules.on_first_use():
    from lazy_example import slow
  answers = []
  threads = [
    threading.Thread(target=lambda: answers.append(slow.answer()))
    for _ in range(8)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert answers == [42] * 8
  assert lazy_example.executed == [1]


def test_attributes_are_replaced_and_restored(package, monkeypatch):
  with lazy_modules.on_first_use():
    from lazy_example import slow
  with monkeypatch.context() as patch:
    patch.setattr(slow, 'answer', lambda: 7)
    assert slow.answer() == 7
  assert slow.answer() == 42


def test_an_error_of_the_module_is_raised_at_each_use(package):
  with lazy_modules.on_first_use():
    from lazy_example import broken
  for _ in range(2):
    with pytest.raises(ModuleNotFoundError, match='no_such_module'):
      _ = broken.answer
