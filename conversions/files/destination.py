"""Creates folders atomically: complete, or not at all.

A folder is written in a hidden folder beside it, which holds a locked file. The
lock ends with the process, so the next command can remove the hidden folders of
killed processes.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import pathlib
import shutil
import tempfile
import time

from hermesflow_jax.runtime import file_lock

SUFFIX = '.tmp'
# Files in a hidden folder. 'old' is a folder that 'new' replaces.
LOCK, NEW, OLD = 'hermesflow_jax.lock', 'new', 'old'


@contextlib.contextmanager
def new_folder(
  path: pathlib.Path,
  overwrite: bool,
  ours: Callable[[pathlib.Path], bool],
  say: Callable[[str], None] = lambda line: None,
) -> Iterator[pathlib.Path]:
  """Yields a temporary path for a folder and renames it after success.

  Args:
    path: final path of the folder. An empty folder is used as it is.
    overwrite: whether to replace an existing folder.
    ours: returns whether the command has written an existing folder. Only such
      folders are replaced, so files of the user are never removed.
    say: receives a line for the remains of a killed command, which are removed.

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
  if '..' in path.parts:
    # 'a/b/..' names 'a', also where 'a/b' does not exist.
    path = (
      path.resolve() if path.name == '..' else path.parent.resolve() / path.name
    )
  _check_folders(path)
  remove_remains(path, say)
  if path.is_symlink() or (path.exists() and not _is_empty_folder(path)):
    if not overwrite:
      raise ValueError(f'{path} exists; --overwrite replaces it')
    if not path.is_dir() or path.is_symlink() or not ours(path):
      raise ValueError(
        f'{path} was not written by this command: remove it yourself'
      )
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    parent = pathlib.Path(
      tempfile.mkdtemp(prefix=f'.{path.name}.', suffix=SUFFIX, dir=path.parent)
    )
  except OSError as error:
    raise ValueError(f'{path} cannot be created: {error.strerror}') from error
  try:
    with open(parent / 'unlocked', 'w') as lock:
      # Where a file system has no locks, remains are left alone.
      with contextlib.suppress(OSError):
        if file_lock.acquire(lock.fileno(), parent, wait=False):
          # It has this name only while it is locked.
          (parent / 'unlocked').rename(parent / LOCK)
      yield parent / NEW
      if path.exists():
        path.rename(parent / OLD)
      (parent / NEW).rename(path)
  finally:
    if (parent / OLD).exists() and not path.exists():
      (parent / OLD).rename(path)
    _remove(parent)


def _check_folders(path):
  """Raises ValueError if a file stands where a folder must lie."""
  for parent in path.parents:
    if parent.exists():
      if not parent.is_dir():
        raise ValueError(
          f'{path} cannot be created: {parent} is no folder; give another DST'
        )
      return


def check_space(path: pathlib.Path, size: int) -> None:
  """Raises ValueError if a disk has too little space for a folder.

  Args:
    path: folder that does not exist yet, in an existing folder.
    size: bytes of the arrays. Their files may take an eighth more.
  """
  needed, free = size * 9 // 8, shutil.disk_usage(path.parent).free
  if free < needed:
    raise ValueError(
      f'the disk of {path.parent.parent} must have {needed / 1e9:.3g} GB of '
      f'space, got {free / 1e9:.3g} GB: free some, or give another DST'
    )


def remove_remains(
  path: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> None:
  """Removes hidden folders of killed commands, beside a folder.

  A folder that a killed command was about to replace gets its name back.

  Args:
    path: folder that a command is about to write.
    say: receives a line for each hidden folder that was removed.
  """
  for folder in sorted(path.parent.glob(f'.*{SUFFIX}')):
    # The name is '.<name of the folder>.<random letters>.tmp'.
    name = folder.name[1 : -len(SUFFIX)].rpartition('.')[0]
    if not name or not _is_abandoned(folder):
      continue
    if (folder / OLD).exists() and not (path.parent / name).exists():
      (folder / OLD).rename(path.parent / name)
    shutil.rmtree(folder, ignore_errors=True)
    say(f'removed {folder}, which a killed command had left')


def _remove(folder: pathlib.Path) -> None:
  """Removes a hidden folder, into which threads may still write.

  After an error, threads of orbax that had begun a file end it.
  """
  for _ in range(10):
    shutil.rmtree(folder, ignore_errors=True)
    time.sleep(0.05 if folder.exists() else 0)
    if not folder.exists():
      return


def _is_abandoned(folder: pathlib.Path) -> bool:
  """Returns whether the process that wrote a hidden folder has ended."""
  try:
    if {entry.name for entry in folder.iterdir()} - {LOCK, NEW, OLD}:
      return False
    with open(folder / LOCK, 'r+') as lock:
      return file_lock.acquire(lock.fileno(), folder, wait=False)
  except OSError:
    return False


def _is_empty_folder(path: pathlib.Path) -> bool:
  return path.is_dir() and not any(path.iterdir())
