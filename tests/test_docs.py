"""The pages: links, paths, commands and examples that exist and run."""

import functools
import importlib
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import command_line
import looped_layers
import numpy as np
import pytest

from conversions import convert
from conversions import verify
import main

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
  [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('docs/**/*.md')]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# A path in a page may leave out the folder that its section is about.
BASES = ('', 'hermesflow_jax', 'hermesflow_jax/assets', 'tests', 'docs')
# Files that the tutorial asks its reader to write.
TUTORIAL_FILES = ('ten_images.py', 'my_pair_dpo.py', 'my_curate.py')
# A stand-in for a config of the reader's.
OWN = 'my_own.py'


@functools.cache
def text(name):
  return (ROOT / name).read_text()


def prose(name):
  """Returns a page without its blocks of code."""
  return re.sub(r'^```.*?^```', '', text(name), flags=re.M | re.S)


def blocks(name, language=''):
  """Returns the blocks of code of a page in one language."""
  actual = re.findall(r'^```(\w*)\n(.*?)^```$', text(name), flags=re.M | re.S)
  return [code for label, code in actual if label == language]


def anchors(name):
  """Returns the anchors of a page's headings, as GitHub makes them."""
  headings = re.findall(r'^#+ (.*)', prose(name), re.M)
  plain = [re.sub(r'[^\w\- ]', '', h.lower()) for h in headings]
  return {heading.replace(' ', '-') for heading in plain}


def commands(name):
  """Returns the commands of a page, without their line breaks."""
  lines = '\n'.join(blocks(name) + blocks(name, 'bash')).replace('\\\n', ' ')
  tables = re.findall(r'`([^`\n]+)`', prose(name))
  return [
    part.strip()
    for line in lines.splitlines() + tables
    for part in line.partition('  #')[0].split('&&')
  ]


def tutorial_files(folder):
  """Writes the tutorial's python files into a folder."""
  for block in blocks('docs/tutorial.md', 'python'):
    name = block.split('\n', 1)[0].removeprefix('# ')
    (folder / name).write_text(block)


@pytest.mark.parametrize('name', NAMES)
def test_every_link_leads_somewhere(name):
  folder = (ROOT / name).parent
  for target in re.findall(r'\]\(([^)\s]+)\)', prose(name)):
    if re.match(r'https?://', target):
      continue
    path, _, anchor = target.partition('#')
    file = (folder / path).resolve() if path else ROOT / name
    assert file.exists(), target
    if anchor:
      assert anchor in anchors(str(file.relative_to(ROOT))), target


@pytest.mark.parametrize('name', NAMES)
def test_every_python_file_of_a_page_exists(name):
  for path in re.findall(r'`([\w/.]+\.py)(?::[\w]+)?`', prose(name)):
    if path not in TUTORIAL_FILES and '<' not in path:
      assert any((ROOT / base / path).exists() for base in BASES), path


@pytest.mark.parametrize('name', NAMES)
def test_every_function_of_a_module_exists(name):
  modules = {
    path.stem: '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    for path in (ROOT / 'hermesflow_jax').rglob('*.py')
    if path.stem != '__init__'
  }
  for code in re.findall(
    r'`([a-z_]+(?:\.[A-Za-z_]+)+)(?:\([^`]*\))?`', prose(name)
  ):
    module, *attributes = code.split('.')
    if module not in modules or attributes[-1] in ('py', 'json', 'jsonl'):
      continue
    value = importlib.import_module(modules[module])
    for attribute in attributes:
      fields = getattr(value, '__dataclass_fields__', {})
      assert hasattr(value, attribute) or attribute in fields, code
      value = getattr(value, attribute, None)


@pytest.mark.parametrize('name', NAMES)
def test_every_command_can_be_read(name, tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  tutorial_files(tmp_path)
  for command in commands(name):
    form = r'(python main\.py|hermesflow(?! (convert|verify)))( (--)?\w\S*.*)+'
    if re.fullmatch(form, command) is None:
      parse_conversion(command)
      continue
    if re.search(r'<\w+>|=\.\.\.|--help', command):
      continue
    arguments = shlex.split(command.replace(' ...', ''))
    arguments = arguments[arguments[0] == 'python' :]
    shutil.copy(ROOT / 'configs' / 'generate.py', tmp_path / OWN)
    for file in (*TUTORIAL_FILES, OWN):
      arguments = [
        a.replace(f'={file}', f'={tmp_path / file}') for a in arguments
      ]
    values, *_ = main.options(arguments)
    assert main.job_of(values['job'])


def parse_conversion(command):
  """Parses a command of `conversions`; KIND and brackets mean any."""
  match = re.fullmatch(
    r'(?:python -m conversions\.|hermesflow )(convert|verify) (.*)', command
  )
  if match:
    parser = {'convert': convert, 'verify': verify}[match[1]].command_line()
    plain = re.sub(r'\[.*?\]', '', match[2]).replace('KIND', 'showo')
    assert parser.parse_args(shlex.split(plain)).kind in convert.KINDS


def test_pages_have_commands():
  lines = [
    c
    for name in NAMES
    for c in commands(name)
    if c.startswith('python main.py --config')
  ]
  assert len(lines) > 35


def test_every_page_is_in_the_index():
  index = text('docs/index.md')
  for page in ROOT.glob('docs/*.md'):
    assert page.name == 'index.md' or f']({page.name})' in index, page.name


def test_the_examples_of_extending_run(monkeypatch, tmp_path):
  from hermesflow_jax.pair_dpo import methods
  from hermesflow_jax.sequences import text_similarity

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(methods, 'METHODS', dict(methods.METHODS))
  monkeypatch.setattr(text_similarity, 'SCORERS', dict(text_similarity.SCORERS))
  looped_layers.loop_layers(monkeypatch)
  names = {}
  for block in blocks('docs/extending.md', 'python'):
    exec(compile(block, 'docs/extending.md', 'exec'), names)
  assert abs(names['metrics'][0]['train/loss'] - 2.6265) < 1e-3
  assert names['curated'].candidates.caption_scores.shape == (2, 2)
  assert names['result'].judged == [['red'], ['red']]
  assert names['flawless_share'] == 0.5
  benchmark = names['ExactWords']()
  row = names['protocol'].ImageQuestion('0', None, 'q', {'answer': 'Red'})
  (scores,) = benchmark.score([row], {'0': 'red'})
  assert scores.headline == 100


def test_the_scorers_of_a_user_score(monkeypatch, tmp_path):
  from hermesflow_jax.scoring import caption_scorers
  from hermesflow_jax.scoring import image_scorers

  for block in blocks('docs/scorers.md', 'python')[:2]:
    name = block.split('\n', 1)[0].removeprefix('# ')
    (tmp_path / name).write_text(block)
  monkeypatch.chdir(tmp_path)
  names = dict(re.findall(r'(\w+)_scorer=(\w+:\w+)', text('docs/scorers.md')))
  scorer = caption_scorers.make(names['caption'], None)
  assert scorer(['a red ring'], ['a blue ring']).tolist() == [0.5]
  scorer = image_scorers.make(names['image'], None)
  pixels = np.arange(2, dtype=np.uint8).reshape(1, 2, 1, 1, 1)
  assert scorer.function(pixels, ['a red ring'], [[]]).tolist() == [[0, 1]]


def test_the_tutorials_files_are_read(monkeypatch, tmp_path):
  from hermesflow_jax.data import record_files
  from hermesflow_jax.runtime import settings

  tutorial_files(tmp_path)
  subprocess.run([sys.executable, 'ten_images.py'], cwd=tmp_path, check=True)
  for file, sources in (
    ('my_pair_dpo.py', ('inputs', 'held_out')),
    ('my_curate.py', ()),
  ):
    monkeypatch.chdir(ROOT)
    values, *_ = main.options(['main.py', f'--config={tmp_path / file}'])
    config = settings.build(main.job_of(values.pop('job')).Settings, values)
    monkeypatch.chdir(tmp_path)
    files = [getattr(config.files, s) for s in sources] or [config.files]
    counts = [len(record_files.read_records(source)) for source in files]
    assert counts == [7, 3][: len(files)]


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
  tutorial_files(tmp_path)
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  (tmp_path / 'main.py').symlink_to(ROOT / 'main.py')
  for block in blocks('docs/tutorial.md'):
    for command in block.splitlines():
      if command.startswith('python '):
        arguments = [sys.executable, *shlex.split(command)[1:]]
        subprocess.run(arguments, cwd=tmp_path, check=True, env=environment())
  assert (tmp_path / 'runs' / 'ten' / 'report.html').exists()
  assert (tmp_path / 'runs' / 'ten_learn' / 'model').exists()


def environment():
  """Returns the environment of a program that a person starts."""
  return command_line.environment() | {'PYTHONPATH': str(ROOT)}
