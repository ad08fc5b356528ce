"""Work that a test run does once, for all of its processes."""

from collections.abc import Callable
import fcntl
import os
import pathlib

import pytest


def do_once(
  tmp_path_factory: pytest.TempPathFactory,
  name: str,
  work: Callable[[pathlib.Path], object],
) -> pathlib.Path:
  """Lets the first process that comes do the work; others wait for it.

  Args:
    tmp_path_factory: pytest's fixture.
    name: name of the work, unique in the test run.
    work: function of the folder of the test run.

  Returns:
    The folder of the test run.
  """
  root = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    # Workers have folders of their own in the folder of the test run.
    root = root.parent
  done = root / f'{name}.done'
  with open(root / f'{name}.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not done.exists():
      work(root)
      done.touch()
  return root


def make_once(
  tmp_path_factory: pytest.TempPathFactory,
  name: str,
  write: Callable[[pathlib.Path], object],
) -> pathlib.Path:
  """Returns a folder that the first process that comes writes.

  Args:
    tmp_path_factory: pytest's fixture.
    name: name of the folder, unique in the test run.
    write: function that writes the folder.
  """
  root = do_once(tmp_path_factory, name, lambda root: write(root / name))
  return root / name
