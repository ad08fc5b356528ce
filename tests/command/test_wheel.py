"""The wheel: one name in an environment, with all that a command needs."""

import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

# Earlier releases build no wheels.
pytest.importorskip('setuptools', '70.1')

ROOT = pathlib.Path(__file__).parents[2]
COMMANDS = """
import contextlib, io, sys
from hermesflow_jax.command import config_files, program

for words in sys.argv[1:]:
  output = io.StringIO()
  with contextlib.suppress(SystemExit), contextlib.redirect_stdout(output):
    program.main(['hermesflow', *words.split()])
  print(' '.join(output.getvalue().split()))
print(config_files.load('my_own')['play']['rounds'])
print(config_files.__file__)
"""
OWN = """
import configs.pair_dpo

def get_config():
  return configs.pair_dpo.get_config('show_o_512')
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """The wheel of this checkout, which is built beside it."""
  folder = tmp_path_factory.mktemp('wheel')
  subprocess.run(
    [
      sys.executable,
      'setup.py',
      '-q',
      *('egg_info', '--egg-base', folder),
      *('build', '--build-base', folder / 'build'),
      *('bdist_wheel', '--dist-dir', folder, '--bdist-dir', folder / 'files'),
    ],
    cwd=ROOT,
    check=True,
    capture_output=True,
  )
  (path,) = folder.glob('*.whl')
  return zipfile.ZipFile(path)


def files(*patterns):
  return {
    str(path.relative_to(ROOT))
    for pattern in patterns
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix != '.pyc'
  }


def test_a_wheel_holds_the_package_and_its_project_and_nothing_else(wheel):
  package = files('hermesflow_jax/**/*')
  project = files('configs/**/*', 'conversions/**/*')
  bundled = {f'hermesflow_jax/bundled/{name}' for name in project}
  actual = {name for name in wheel.namelist() if '.dist-info/' not in name}
  assert actual == package | bundled


def test_a_wheel_gives_the_command(wheel):
  (name,) = (n for n in wheel.namelist() if n.endswith('entry_points.txt'))
  assert 'hermesflow = hermesflow_jax.command.launch:run' in str(
    wheel.read(name)
  )


def test_commands_run_from_a_wheel_in_an_empty_folder(wheel, tmp_path):
  wheel.extractall(tmp_path / 'site')
  folder = tmp_path / 'empty'
  folder.mkdir()
  (folder / 'my_own.py').write_text(OWN)
  environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  done = subprocess.run(
    [
      *(sys.executable, '-c', COMMANDS),
      *('--help', 'pair_dpo --help', 'convert --help'),
    ],
    cwd=folder,
    env=environment | {'PYTHONPATH': str(tmp_path / 'site')},
    capture_output=True,
    text=True,
  )
  assert done.stderr == ''
  *output, rounds, file = done.stdout.splitlines()
  assert 'hermesflow convert|verify ...' in output[0]
  assert ' hermesflow pair_dpo plays three rounds ' in output[1]
  assert 'KIND SRC DST' in output[2]
  assert rounds == '3'
  assert file.startswith(str(tmp_path))
