"""Help: the jobs, and the settings of a config."""

import json
import os
import re
import sys

import ml_collections

from hermesflow_jax.command import config_files
from hermesflow_jax.command import overrides
from hermesflow_jax.command import project_folder

# Modules of `conversions` that are commands.
CONVERSIONS = ('convert', 'verify')


def program_name(path: str) -> str:
  """Returns how the program was started.

  Args:
    path: `sys.argv[0]`.

  Returns:
    'hermesflow', 'python -m hermesflow_jax' or 'python main.py', the last with
    the path of main.py.
  """
  name = os.path.basename(path)
  if name.removesuffix('.exe') == 'hermesflow':
    return 'hermesflow'
  if name == '__main__.py':
    return 'python -m hermesflow_jax'
  return f'python {path}'


def with_program(text: str, path: str) -> str:
  """Returns a text whose commands start as the program was started.

  Args:
    text: holds commands of a checkout, e.g. `python main.py --config=...`.
    path: `sys.argv[0]`.
  """
  program = program_name(path)
  if program.startswith('python ') and program.endswith('.py'):
    return text
  text = text.replace('python -m conversions.', f'{program} ')
  text = re.sub(
    r'python main\.py --config=configs/(\w+)\.py', rf'{program} \1', text
  )
  return text.replace('python main.py', program)


def usage(path: str) -> str:
  """Returns a line that says how to start a job."""
  return f'{program_name(path)} <job>[:<variant>] [--config.<setting>=<value>]'


def overview(path: str, flags: str) -> str:
  """Returns the help of the program.

  Args:
    path: `sys.argv[0]`.
    flags: help of its flags.
  """
  program = program_name(path)
  jobs = {
    name: config_files.summary(file)
    for name, file in config_files.names().items()
  }
  folder = project_folder.locate() / 'conversions'
  conversions = {
    name: config_files.summary(folder / f'{name}.py').split(':')[0]
    for name in CONVERSIONS
  }
  return '\n'.join(
    [
      f'usage: {usage(path)} [--workdir=<folder>]',
      f'       {program} --config=<file.py>[:<variant>] ...',
      f'       {program} {"|".join(CONVERSIONS)} ...',
      '',
      f'Jobs; {program} <job> --help shows variants and settings:',
      *(f'  {name:11} {text}' for name, text in jobs.items()),
      '',
      'Weights from PyTorch and back:',
      *(f'  {name:11} {text}' for name, text in conversions.items()),
      '',
      'Flags:',
      flags,
    ]
  )


def of_config(
  path: str, description: str, config: ml_collections.ConfigDict
) -> str:
  """Returns the help of a config: its docstring, then every setting.

  Args:
    path: `sys.argv[0]`.
    description: docstring of the config.
    config: settings.
  """
  return '\n'.join(
    [
      with_program(description, path),
      '',
      'Settings and their values; lists are Python, JSON or a,b:',
      *(
        f'  --config.{name}={_text(value)}'
        for name, value in overrides.setting_values(config)
        if name != 'job'
      ),
    ]
  )


def _text(value):
  if isinstance(value, (list, tuple)):
    return json.dumps(value, default=_as_dict, ensure_ascii=False)
  return value


def _as_dict(value):
  return value.to_dict()


def version() -> str:
  """Returns the versions of the package and of python."""
  from importlib import metadata

  try:
    number = metadata.version('hermesflow_jax')
  except metadata.PackageNotFoundError:
    number = '(not installed)'
  return f'hermesflow_jax {number}, python {sys.version.split()[0]}'
