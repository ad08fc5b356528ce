"""Functions of the user, named in a setting by their import path."""

from collections.abc import Callable
import importlib
import os
import sys


def is_path(name: str) -> bool:
  """Returns whether a setting has the form `my_module:my_function`.

  >>> is_path('my_module:my_scorer'), is_path('bert')
  (True, False)
  """
  module, colon, function = name.partition(':')
  parts = [*module.split('.'), *function.split('.')]
  return bool(colon) and all(part.isidentifier() for part in parts)


def load(setting: str, name: str) -> Callable:
  """Imports a function, also from the current folder.

  Args:
    setting: name of the setting, for the error.
    name: import path, see `is_path`.

  Raises:
    ValueError: the module cannot be imported, or has no such function.
  """
  module, _, function = name.partition(':')
  folder = os.getcwd()
  # Commands that pip installs do not look into the current folder.
  added = folder not in sys.path
  if added:
    sys.path.append(folder)
  try:
    value = importlib.import_module(module)
    for part in function.split('.'):
      value = getattr(value, part)
  except (Exception, SystemExit) as error:
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    raise ValueError(
      f'{setting} must be a function that can be imported, got {name!r} '
      f'({reason}); run the command in the folder of the module, or install it'
    ) from error
  finally:
    if added:
      sys.path.remove(folder)
  if not callable(value):
    raise ValueError(
      f'{setting} must be a function, got {name!r}, which is '
      f'{type(value).__name__}'
    )
  return value
