"""Config files: located by name or path, loaded, described."""

import ast
import contextlib
import difflib
import os
import pathlib
import sys
import traceback
import types

import ml_collections

from hermesflow_jax.command import project_folder

# Module name of a loaded config.
_MODULE = 'config_config'


def names() -> dict[str, pathlib.Path]:
  """Returns the project's configs that start jobs: name -> file, sorted."""
  files = sorted((project_folder.locate() / 'configs').glob('*.py'))
  return {
    path.stem: path
    for path in files
    if 'def get_config(' in path.read_text(encoding='utf-8')
  }


def locate(reference: str) -> pathlib.Path:
  """Returns the file of a config.

  Args:
    reference: a path, relative to the current folder or else to the project,
      with or without `.py`; or the name of a config of the project, which
      comes before files in the current folder.

  Raises:
    ValueError: no such file; names the nearest.
  """
  if not reference:
    raise ValueError(
      'config must be a config file or the name of a job, got an empty string'
    )
  known = names()
  if reference in known:
    return known[reference]
  project = project_folder.locate()
  path = os.path.expanduser(reference)
  for folder in (pathlib.Path(), project, project / 'configs'):
    for name in (path, f'{path}.py'):
      # Also a file without a suffix, or a pipe.
      if (folder / name).exists() and not (folder / name).is_dir():
        return folder / name
  near = _nearest(path, known)
  advice = f'; did you mean {near}?' if near else ''
  raise ValueError(
    f'config must be a config file or one of {", ".join(known)}, got '
    f'{reference!r}{advice}'
  )


def _nearest(reference, known):
  """Returns the name or file that is spelled most alike, or None."""
  folder, name = os.path.split(reference)
  candidates = {}
  with contextlib.suppress(OSError):
    for file in sorted(pathlib.Path(folder or '.').glob('*.py')):
      if file.stem not in ('__init__', 'main', 'setup'):
        candidates[file.stem] = repr(os.path.join(folder, file.name))
  candidates |= {job: job for job in known}
  stem = name.removesuffix('.py')
  plain = stem.lower().replace('-', '_')
  near = (
    difflib.get_close_matches(stem, candidates, 1)
    or difflib.get_close_matches(plain, candidates, 1)
    or [job for job in candidates if plain and job.startswith(plain)]
  )
  return candidates[near[0]] if near else None


def load(reference: str) -> ml_collections.ConfigDict:
  """Returns the settings of `<config>[:<variant>]`.

  Args:
    reference: see `locate`; the text after a colon is the variant.

  Raises:
    ValueError: one line: no such file, the file has a fault, or no such
      variant.
  """
  name, colon, variant = reference.partition(':')
  if colon and os.path.isfile(reference):
    name, colon = reference, ''
  path = locate(name)
  project_folder.add_to_path()
  module = types.ModuleType(_MODULE)
  module.__file__ = str(path)
  try:
    code = compile(path.read_bytes(), str(path), 'exec', dont_inherit=True)
  except (OSError, SyntaxError, ValueError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
  # Dataclasses of the config look for their module.
  sys.modules[_MODULE] = module
  with _neighbors_on_path(path):
    try:
      exec(code, module.__dict__)
    except Exception as error:
      raise ValueError(_fault(error, path)) from error
    if not hasattr(module, 'get_config'):
      raise ValueError(f'{path}: the config file has no get_config')
    try:
      config = module.get_config(*([variant] if colon else []))
    except Exception as error:
      if str(error).startswith('get_config() takes 0 '):
        raise ValueError(
          f'{path}: this config has no variants, got {variant!r}'
        ) from error
      raise ValueError(_fault(error, path)) from error
  if isinstance(config, dict):
    return ml_collections.ConfigDict(config)
  if not isinstance(config, ml_collections.ConfigDict):
    raise ValueError(
      f'get_config of {path} must return an ml_collections.ConfigDict, got '
      f'{type(config).__name__}'
    )
  return config


@contextlib.contextmanager
def _neighbors_on_path(path):
  """Lets a config import the python files beside it."""
  folder = str(path.resolve().parent)
  sys.path.append(folder)
  try:
    yield
  finally:
    sys.path.remove(folder)


def _fault(error, path):
  """Returns a line that says which line of a config raised what."""
  if isinstance(error, ValueError) and str(error).startswith('variant must'):
    return str(error)
  lines = [
    frame.lineno
    for frame in traceback.extract_tb(error.__traceback__)
    if frame.filename == str(path)
  ]
  place = f'{path}, line {lines[-1]}' if lines else str(path)
  return f'{place}: {type(error).__name__}: {error}'


def summary(path: pathlib.Path) -> str:
  """Returns the first line of a python file's docstring."""
  return description(path).split('\n', 1)[0]


def description(path: pathlib.Path) -> str:
  """Returns a python file's docstring; '' for none."""
  return ast.get_docstring(ast.parse(path.read_bytes())) or ''
