"""Creates folders atomically: complete, or not at all."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import pathlib

from hermesflow_jax.runtime import temporary_folders


@contextlib.contextmanager
def new_folder(
  path: pathlib.Path, overwrite: bool, ours: Callable[[pathlib.Path], bool]
) -> Iterator[pathlib.Path]:
  """Yields a temporary path for a folder and renames it after success.

  Args:
    path: final path of the folder.
    overwrite: whether to replace an existing folder.
    ours: returns whether the command has written an existing folder. Only such
      folders are replaced, so files of the user are never removed.

  Yields:
    An unused path in the same file system. It is removed after an error.

  Raises:
    ValueError: `path` exists and must not be replaced, or the folder cannot be
      created.
  """
  if '://' in str(path):
    raise ValueError(
      f'{path} must be a local folder: convert to a local folder, then copy'
    )
  path = pathlib.Path(path).absolute()
  if path.exists() or path.is_symlink():
    if not overwrite:
      raise ValueError(f'{path} exists; --overwrite replaces it')
    if not path.is_dir() or path.is_symlink() or not ours(path):
      raise ValueError(
        f'{path} was not written by this command: remove it yourself'
      )
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_folders.TemporaryFolder(path.parent, f'.{path.name}.')
  except OSError as error:
    raise ValueError(f'{path} cannot be created: {error.strerror}') from error
  with temporary as parent:
    yield parent / 'new'
    if path.exists():
      path.rename(parent / 'old')
    (parent / 'new').rename(path)
