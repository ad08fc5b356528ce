"""Commands in this process: exit code and error line."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
# Variables that tests/conftest.py sets.
_OF_TESTS = 'XLA_FLAGS', 'JAX_DISABLE_MOST_OPTIMIZATIONS'
CONFIG = f'--config={ROOT}/configs/pair_dpo.py'


def one_line(actual, *output):
  """Asserts exit code 2 and one line that says all of `said`."""
  code, text = actual
  assert text.startswith('error: ') and text.count('\n') == 1, text
  for item in output:
    assert str(item) in text
  assert code == 2


def everything(folder):
  """{path: bytes} of all files below a folder."""
  return {
    path: path.read_bytes() for path in folder.rglob('*') if path.is_file()
  }


def environment() -> dict[str, str]:
  """Returns the environment of a command that a person starts."""
  return {k: v for k, v in os.environ.items() if k not in _OF_TESTS}


def process(*arguments, cwd):
  return subprocess.Popen(
    [sys.executable, str(ROOT / 'main.py'), *map(str, arguments)],
    cwd=cwd,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env=environment() | {'JAX_PLATFORMS': 'cpu'},
  )
