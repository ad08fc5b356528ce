"""A folder that appears under its name whole, or not at all."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import pathlib
import shutil
import tempfile


@contextlib.contextmanager
def new_folder(
  path: pathlib.Path, overwrite: bool, ours: Callable[[pathlib.Path], bool]
) -> Iterator[pathlib.Path]:
  """Gives the name of a folder to make; renames it when all went well.

  Args:
    path: what it will be called.
    overwrite: whether what is there may be replaced.
    ours: tells of an existing folder whether such a command made it, so that
      nobody's other files are ever removed.

  Yields:
    A path in the same file system at which nothing is yet. It is removed if
    anything is raised.

  Raises:
    ValueError: something is there that may not be replaced, or the folder
      cannot be made.
  """
  if '://' in str(path):
    raise ValueError(
      f'{path} is no folder of this machine: copy it there later'
    )
  path = pathlib.Path(path).absolute()
  if path.exists() or path.is_symlink():
    if not overwrite:
      raise ValueError(f'{path} exists; --overwrite replaces it')
    if not path.is_dir() or path.is_symlink() or not ours(path):
      raise ValueError(f'{path} is not of this command: remove it yourself')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    room = pathlib.Path(
      tempfile.mkdtemp(prefix=f'.{path.name}.', suffix='.tmp', dir=path.parent)
    )
  except OSError as error:
    raise ValueError(f'{path} cannot be made: {error.strerror}') from error
  try:
    yield room / 'new'
    if path.exists():
      path.rename(room / 'old')
    (room / 'new').rename(path)
  finally:
    shutil.rmtree(room, ignore_errors=True)
