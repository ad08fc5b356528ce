"""Configs are located by name or path, from any folder."""

import pathlib

import pytest

from hermesflow_jax.command import command_flags
from hermesflow_jax.command import config_files
from hermesflow_jax.command import project_folder

OWN = """
import ml_collections

from configs import pair_dpo
import neighbor


def get_config():
  config = pair_dpo.get_config()
  config.play.rounds = neighbor.ROUNDS
  return config
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """An empty current folder, with spaces in its path."""
  path = tmp_path / 'my folder'
  path.mkdir()
  monkeypatch.chdir(path)
  return path


@pytest.fixture
def own(folder):
  """A config in the current folder that imports a file beside it."""
  (folder / 'neighbor.py').write_text('ROUNDS = 7\n')
  (folder / 'my own.py').write_text(OWN)
  return folder / 'my own.py'


@pytest.fixture
def others(folder, monkeypatch):
  """A folder that belongs to another program."""
  (folder / 'other').mkdir()
  monkeypatch.chdir(folder / 'other')


def rounds(*arguments):
  values, *_ = command_flags.read(['hermesflow', *map(str, arguments)])
  return values['play']['rounds']


@pytest.mark.parametrize(
  'arguments',
  [
    ['pair_dpo'],
    ['pair_dpo.py'],
    ['configs/pair_dpo.py'],
    ['pair_dpo:shapes'],
    ['--config=pair_dpo'],
    ['--config=configs/pair_dpo.py:show_o_512'],
    ['--config', 'configs/pair_dpo'],
    ['--workdir=x', 'pair_dpo'],
    ['--workdir', 'x', 'pair_dpo'],
  ],
)
def test_a_config_of_the_project_is_located_from_any_folder(folder, arguments):
  assert rounds(*arguments) == 3
  assert rounds(*arguments, '--config.play.rounds=2') == 2
  assert rounds(*arguments, '--config.play.rounds', '2') == 2


def test_settings_may_come_before_the_name_of_a_job(folder):
  assert rounds('--config.play.rounds=2', 'pair_dpo') == 2


@pytest.mark.parametrize('form', ['my own.py', 'my own', './my own.py'])
def test_a_config_of_ones_own_is_located_in_the_current_folder(own, form):
  assert rounds(f'--config={form}') == rounds(form) == 7


def test_a_config_may_import_files_beside_it_from_elsewhere(own, others):
  assert rounds(f'--config={own}') == rounds('../my own.py') == 7


def test_a_config_in_the_home_folder_is_located(own, others, monkeypatch):
  monkeypatch.setenv('HOME', str(own.parent))
  assert rounds('--config=~/my own.py') == 7


def test_line_ends_and_byte_order_marks_of_windows_are_read(folder):
  text = OWN.replace('import neighbor\n', '').replace('neighbor.ROUNDS', '5')
  data = b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode()
  (folder / 'windows.py').write_bytes(data)
  assert rounds('windows.py') == 5


def test_a_job_is_not_a_script_of_the_same_name(folder):
  """`hermesflow generate` must not run someone's generate.py."""
  (folder / 'pair_dpo.py').write_text('raise SystemExit(3)\n')
  assert rounds('pair_dpo') == 3


def test_a_file_of_that_name_is_a_config_if_it_is_meant(folder):
  text = OWN.replace('import neighbor\n', '').replace('neighbor.ROUNDS', '5')
  (folder / 'pair_dpo.py').write_text(text)
  assert rounds('--config=pair_dpo.py') == 5


def test_a_config_returns_a_plain_dictionary(folder):
  (folder / 'plain.py').write_text(
    'def get_config():\n  return {"job": "pair_dpo", "play": {"rounds": 4}}\n'
  )
  assert rounds('plain.py') == 4


@pytest.mark.parametrize(
  'reference, message',
  [
    ('pair_dop', "got 'pair_dop'; did you mean pair_dpo?"),
    ('generat:show_o_512', 'did you mean generate?'),
    ('confgs/curate.py', 'did you mean curate?'),
    ('configs', 'config must be a config file or one of ablation, benchmark'),
    ('my_own.py', "did you mean 'my own.py'?"),
    ('../my folder/my_own.py', "did you mean '../my folder/my own.py'?"),
    ('show_o', 'show_o.py: the config file has no get_config'),
    ('', 'got an empty string'),
    ('tokenizer:x', "tokenizer.py: this config has no variants, got 'x'"),
    ('pair_dpo:show_o', 'variant must be one of shapes, paper, grpo'),
  ],
)
def test_a_wrong_name_is_refused_with_the_nearest(own, reference, message):
  with pytest.raises(ValueError) as error:
    config_files.load(reference)
  assert message in str(error.value)


@pytest.mark.parametrize(
  'text, message',
  [
    ('def get_config(:', 'wrong.py cannot be read: invalid syntax'),
    ('\n\n1 / 0', 'wrong.py, line 3: ZeroDivisionError: division by zero'),
    (
      'import no_such_module',
      "line 1: ModuleNotFoundError: No module named 'n",
    ),
    ('from configs import nothing', 'line 1: ImportError: cannot import name'),
    ('def get_config():\n  return x', "line 2: NameError: name 'x' is not def"),
    ('def get_config():\n  pass', 'must return an ml_collections.ConfigDict'),
    ('é'.encode('latin-1'), 'wrong.py cannot be read: '),
  ],
)
def test_a_fault_of_a_config_is_a_line_with_its_place(folder, text, message):
  data = text if isinstance(text, bytes) else text.encode()
  (folder / 'wrong.py').write_bytes(data)
  with pytest.raises(ValueError) as error:
    config_files.load('wrong.py')
  assert message in str(error.value)


def test_a_wheel_holds_the_project_inside_the_package(tmp_path, monkeypatch):
  package = tmp_path / 'hermesflow_jax'
  monkeypatch.setattr(project_folder, '_PACKAGE', package)
  assert project_folder.locate() == tmp_path
  (package / 'bundled').mkdir(parents=True)
  assert project_folder.locate() == package / 'bundled'


def test_names_are_those_of_the_configs_that_start_a_job():
  folder = pathlib.Path(__file__).parents[2] / 'configs'
  files = {path.stem for path in folder.glob('*.py')}
  assert set(config_files.names()) == files - {
    '__init__',
    'answers',
    'ablation_arms',
    'group_arms',
    'groups',
    'gpu_measurements',
    'services',
    'show_o',
    'workloads',
  }
