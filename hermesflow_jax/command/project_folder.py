"""Folder with `configs` and `conversions`: a checkout, or within the package.

An installed package must not occupy the names `configs` and `conversions` in
everybody's environment. A wheel holds both in `hermesflow_jax/bundled`, and
the command puts that folder on its own path of modules.
"""

import pathlib
import sys

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def locate() -> pathlib.Path:
  """Returns the folder: that of the wheel, else that of the checkout."""
  bundled = _PACKAGE / 'bundled'
  return bundled if bundled.is_dir() else _PACKAGE.parent


def add_to_path() -> None:
  """Makes `import configs` and `import conversions` work in this process."""
  folder = str(locate())
  if folder not in sys.path:
    sys.path.insert(0, folder)
