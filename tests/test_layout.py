"""Rules of the layout that neither ruff nor import-linter checks."""

import ast
import pathlib

import plain_english
import pytest
import worker_schedule

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = 'hermesflow_jax', 'conversions', 'configs'


def sources(*folders):
  """Yields (dotted name, syntax tree) of each module."""
  for path, tree in plain_english.sources(folders):
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    yield name.removesuffix('.__init__'), tree


@pytest.fixture(scope='module', autouse=True)
def forgotten_trees():
  """Forgets the syntax trees after the tests of this file."""
  yield
  plain_english.parse.cache_clear()


def test_modules_are_imported_not_names():
  modules = {name for name, _ in sources(*FOLDERS)}
  wrong = [
    f'{name} imports {node.module}.{alias.name}'
    for name, tree in sources(*FOLDERS, 'tests')
    for node in ast.walk(tree)
    if isinstance(node, ast.ImportFrom) and node.module.split('.')[0] in FOLDERS
    for alias in node.names
    if f'{node.module}.{alias.name}' not in modules
  ]
  assert wrong == []


def test_modules_keep_their_names():
  wrong = [
    f'{name}:{line} {alias}'
    for name, tree in sources(*FOLDERS, 'tests')
    for line, alias in plain_english.aliases(tree)
  ]
  assert wrong == []


def test_there_is_no_drawer():
  names = {name.split('.')[-1] for name, _ in sources('hermesflow_jax')}
  assert not names & {
    'utils',
    'util',
    'helpers',
    'misc',
    'common',
    'common_utils',
  }


def test_there_is_no_loose_module():
  loose = [
    path.name
    for path in (ROOT / 'hermesflow_jax').glob('*.py')
    if path.name not in ('__init__.py', '__main__.py')
  ]
  assert loose == []


def test_the_first_line_of_a_module_is_one_sentence_on_one_line():
  for name, tree in sources(*FOLDERS):
    first = (ast.get_docstring(tree) or '').split('\n')
    assert len(first[0]) <= 80, name
    assert len(first) == 1 or not first[1], name
    assert first[0].endswith(('.', ':')), name


def test_no_file_is_long():
  lengths = {
    str(path.relative_to(ROOT)): len(path.read_text().splitlines())
    for folder in (*FOLDERS, 'tests')
    for path in (ROOT / folder).rglob('*.py')
  }
  assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_docstrings_are_plain_english():
  words, counts = plain_english.count(
    tree for _, tree in plain_english.sources()
  )
  for word, limit in plain_english.LIMITS.items():
    assert 1000 * counts[word] / words <= limit, word


def test_names_say_what_things_are():
  empty = [
    f'{path.relative_to(ROOT)}:{line} {name}'
    for path, tree in plain_english.sources()
    for line, name in plain_english.empty_names(tree)
  ]
  assert empty == []


def test_folders_that_workers_take_in_order_exist():
  tests = ROOT / 'tests'
  folders = {path.name for path in tests.iterdir() if path.is_dir()}
  assert set(worker_schedule.FOLDERS) - {'', 'tests'} <= folders
