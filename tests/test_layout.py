"""Imports run one way, and everything public says what it is."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
LIBRARY = 'hermesflow_jax'

# A module imports from earlier rows, and from its own package. The name of a
# package stands for its modules that have no place of their own.
ROWS = (
  ('storage',),
  (
    'settings',
    'console',
    'processes',
    'vocab',
    'sharding',
    'masks',
    'pair_dpo',
    'text',
    'text_similarity',
    'strict_json',
    'canvas',
    'clock',
    'faults',
    'stopwatch',
    'interrupts',
  ),
  ('events', 'optim'),
  (
    'choices',
    'masking',
    'prompting',
    'models',
    'data',
    'train',
    'checkpoint',
    'pictures',
    'shards',
    'loop',
  ),
  ('series', 'cost', 'lora', 'run_folder'),
  ('resumable',),
  (
    'likelihood',
    'methods',
    'sampling',
    'tokenizer_training',
    'bundle',
    'clip_rows',
    'serving',
  ),
  ('packing', 'learners', 'trained'),
  ('pretrained',),
  ('alignment', 'pretraining', 'inference', 'initial', 'speed'),
  ('evaluation',),
  ('curation', 'data.shapes_records', 'benchmark', 'pods'),
  ('agreement', 'harvest', 'reporting', 'learning', 'data.official'),
  ('self_play',),
  ('arms',),
  ('report',),
  ('story',),
  ('jobs',),
)
FORBIDDEN = ('configs', 'conversions', 'ml_collections', 'absl', 'torch')
# Models arrive here as arguments.
WITHOUT_MODELS = (
  'sampling',
  'pair_dpo',
  'likelihood',
  'alignment',
  'pretraining',
  'train',
  'inference',
  'evaluation.gap',
  'curation',
  'self_play',
  'packing',
  'loop',
  'learning',
)


@functools.cache
def sources():
  """{name inside the library: syntax tree}; packages' own files left out."""
  folder = ROOT / LIBRARY
  return {
    '.'.join(path.relative_to(folder).with_suffix('').parts): ast.parse(
      path.read_text()
    )
    for path in sorted(folder.rglob('*.py'))
    if path.name != '__init__.py'
  }


@functools.cache
def imports(name):
  """The full names that a module imports, anywhere in it."""
  found = set()
  for node in ast.walk(sources()[name]):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
      assert not node.level, f'{name} has a relative import'
      found |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def inside(name):
  """The modules of the library that a module imports."""
  return {
    full.removeprefix(f'{LIBRARY}.')
    for full in imports(name)
    if full.startswith(f'{LIBRARY}.')
  }


def place(name):
  """The row of a module, or None."""
  for wanted in (name, name.split('.')[0]):
    for row, names in enumerate(ROWS):
      if wanted in names:
        return row
  return None


def test_every_module_has_a_place_and_every_place_a_module():
  assert [name for name in sources() if place(name) is None] == []
  known = set(sources()) | {name.split('.')[0] for name in sources()}
  assert [name for row in ROWS for name in row if name not in known] == []


def test_imports_run_one_way():
  wrong = [
    f'{name} imports {other}'
    for name in sources()
    for other in inside(name)
    if place(other) >= place(name) and other.split('.')[0] != name.split('.')[0]
  ]
  assert wrong == []


def test_no_module_imports_itself_through_others():
  open_, done = set(), set()

  def visit(name):
    assert name not in open_, f'{name} is in a circle'
    if name in done:
      return
    open_.add(name)
    for other in inside(name):
      visit(other)
    open_.remove(name)
    done.add(name)

  for name in sources():
    visit(name)


@pytest.mark.parametrize('forbidden', FORBIDDEN)
def test_the_library_stands_alone(forbidden):
  wrong = [
    name
    for name in sources()
    if any(full.split('.')[0] == forbidden for full in imports(name))
    and name != 'benchmark.torch_phi'
  ]
  assert wrong == []


def test_models_arrive_as_arguments():
  wrong = [
    name
    for name in WITHOUT_MODELS
    if any(other.startswith('models') for other in inside(name))
  ]
  assert wrong == []


def test_modules_are_imported_not_names():
  modules = set(sources()) | {name.split('.')[0] for name in sources()}
  wrong = [
    f'{name} imports {other}'
    for name in sources()
    for other in inside(name)
    if other not in modules
  ]
  assert wrong == []


def test_there_is_no_drawer():
  names = {name.split('.')[-1] for name in sources()}
  assert not names & {'utils', 'util', 'helpers', 'misc', 'common_utils'}


def test_the_library_prints_nothing():
  wrong = [
    f'{name}:{node.lineno}'
    for name, tree in sources().items()
    for node in ast.walk(tree)
    if isinstance(node, ast.Call)
    and isinstance(node.func, ast.Name)
    and node.func.id == 'print'
  ]
  assert wrong == []


def undocumented(body, name):
  """Names of public definitions without a docstring."""
  for node in body:
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
      continue
    if node.name.startswith('_'):
      continue
    if not ast.get_docstring(node):
      yield f'{name}.{node.name}'
    if isinstance(node, ast.ClassDef):
      yield from undocumented(node.body, f'{name}.{node.name}')


def test_everything_public_says_what_it_is():
  for path in (ROOT / LIBRARY).rglob('__init__.py'):
    assert ast.get_docstring(ast.parse(path.read_text())), path
  for name, tree in sources().items():
    assert ast.get_docstring(tree), name
    assert list(undocumented(tree.body, name)) == []


def test_the_first_line_of_a_module_is_one_sentence_on_one_line():
  for name, tree in sources().items():
    first = ast.get_docstring(tree).split('\n')
    assert len(first[0]) <= 80, name
    assert len(first) == 1 or not first[1], name
    assert first[0].endswith(('.', ':')), name
