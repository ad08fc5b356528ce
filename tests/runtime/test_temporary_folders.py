"""Temporary folders of killed processes go away, those in use stay."""

import subprocess
import sys

import command_line
import pytest

from hermesflow_jax.runtime import temporary_folders

HOLD = """
import sys, time
from hermesflow_jax.runtime import temporary_folders
folder = temporary_folders.TemporaryFolder(sys.argv[1], 'a.')
(folder.path / 'data').write_text('x')
print(folder.path.name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
  """A process with a folder in `tmp_path`, and the folder's name."""
  with subprocess.Popen(
    [sys.executable, '-c', HOLD, str(tmp_path)],
    cwd=command_line.ROOT,
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    yield process, process.stdout.readline().strip()
    process.kill()


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_that_of_a_killed_process_is_removed_by_the_next(tmp_path, holder):
  process, name = holder
  with temporary_folders.TemporaryFolder(tmp_path, 'a.') as folder:
    assert names(tmp_path) == sorted([name, folder.name])
  process.kill()
  process.wait()
  with temporary_folders.TemporaryFolder(tmp_path, 'b.') as other:
    assert names(tmp_path) == sorted([name, other.name])
  with temporary_folders.TemporaryFolder(tmp_path, 'a.') as folder:
    assert names(tmp_path) == [folder.name]
  assert not names(tmp_path)


def test_folders_of_a_user_stay(tmp_path):
  mine = ['a.old.tmp', 'a.abcdefgh', 'a.', 'a.abcdefgh.tmp2']
  for name in mine:
    (tmp_path / name).mkdir()
  (tmp_path / 'a.abcdefgh.tmp').touch()
  with temporary_folders.TemporaryFolder(tmp_path, 'a.'):
    pass
  assert names(tmp_path) == sorted([*mine, 'a.abcdefgh.tmp'])


def test_an_error_removes_the_folder(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    with temporary_folders.TemporaryFolder(tmp_path, 'a.') as folder:
      (folder / 'x').mkdir()
      raise KeyboardInterrupt
  assert not names(tmp_path)
