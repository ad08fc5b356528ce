"""Files in local folders and in buckets (gs://bucket/folder).

An object in a bucket appears only when it is complete. Buckets have no rename,
no locks and no append; their folders are prefixes of object names.
"""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import errno
import io
import os
import pathlib
import posixpath
import shutil
import sys

from hermesflow_jax.runtime import atomic_file
from hermesflow_jax.runtime import bucket_client
from hermesflow_jax.runtime import lazy_modules

with lazy_modules.on_first_use():
  from hermesflow_jax.runtime import disk_names

# Bucket paths use gcsfs also where TensorFlow is installed. epath reads this
# once, with the first path.
os.environ.setdefault('EPATH_USE_TF', 'false')
_BUCKETS = 'gs://'

_bucket = bucket_client.filesystem


def path(name: str | os.PathLike):
  """Returns a `pathlib.Path`, or an `epath.Path` in a bucket.

  Args:
    name: 'folder/file' or 'gs://bucket/folder/file'; '~' at the beginning is
      the home folder. A path is returned as it is.

  Raises:
    ValueError: the scheme is another, or gcsfs is not installed.
  """
  if isinstance(name, pathlib.PurePath):
    return name
  scheme, mark, place = os.fspath(name).partition('://')
  if not mark:
    # A shell expands `~` only at the beginning of a word, not after `--flag=`.
    return pathlib.Path(os.path.expanduser(name))
  if f'{scheme}{mark}' != _BUCKETS or not place.strip('/'):
    raise ValueError(f'path must be a folder or gs://bucket/folder, got {name}')
  _bucket()
  from etils import epath

  return epath.Path(name)


def is_local(where) -> bool:
  """Returns whether a path is on this machine, not in a bucket."""
  return isinstance(where, pathlib.Path)


def is_file(where) -> bool:
  """Returns whether a file exists; False for a name that no file can have."""
  return os.path.isfile(where) if is_local(where) else where.is_file()


def is_folder(where) -> bool:
  """Returns whether a folder exists; False for a name that none can have."""
  return os.path.isdir(where) if is_local(where) else where.is_dir()


def failures() -> tuple[type[Exception], ...]:
  """Returns the exceptions raised when a file or bucket cannot be reached."""
  if not sys.modules.get('gcsfs'):
    return (OSError,)
  import aiohttp
  import gcsfs.retry
  import google.auth.exceptions

  return (
    OSError,
    gcsfs.retry.HttpError,
    gcsfs.retry.ChecksumError,
    aiohttp.ClientError,
    google.auth.exceptions.GoogleAuthError,
  )


def make_folder(folder) -> None:
  """Makes a local folder with its parents; buckets need no folders."""
  if is_local(folder):
    folder.mkdir(parents=True, exist_ok=True)


def check_writable(folder) -> None:
  """Checks that files can be written into a folder, which need not exist.

  Args:
    folder: folder path.

  Raises:
    OSError: the folder is read-only; for a bucket also other `failures()`.
  """
  if is_local(folder):
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not parent.is_dir():
      raise NotADirectoryError(errno.ENOTDIR, 'Not a directory', str(parent))
    if not os.access(parent, os.W_OK):
      raise OSError(f'{parent} is read-only')
  else:
    write(folder / 'writable.tmp', b'')
    remove(folder / 'writable.tmp')


def write(file, data: bytes) -> None:
  """Writes a file, which appears only when it is complete.

  Args:
    file: file path; local parents are made.
    data: its content.

  Raises:
    Exception: of `failures()`, e.g. if the disk is full.
  """
  if not is_local(file):
    _bucket().pipe_file(str(file), data)
    return
  make_folder(file.parent)
  atomic_file.write(file, data)


def create(file, data: bytes) -> bool:
  """Writes an object of a bucket unless it exists.

  If several processes try at once, exactly a single process succeeds.

  Args:
    file: object path.
    data: its content.

  Returns:
    Whether this call wrote it.
  """
  try:
    _bucket().pipe_file(str(file), data, mode='create')
  except FileExistsError:
    return False
  return True


def open_text(file) -> io.TextIOBase:
  """Opens a UTF-8 file for reading; memory holds a few megabytes of it."""
  if is_local(file):
    return open(file, encoding='utf-8')
  # The default cache asks for every 16 KB.
  opened = _bucket().open(str(file), cache_type='readahead')
  return io.TextIOWrapper(opened, encoding='utf-8')


@contextlib.contextmanager
def open_bytes(file) -> Iterator:
  """Yields a local path, or an open object of a bucket, for file readers.

  Args:
    file: file path.
  """
  if is_local(file):
    yield file
  else:
    with file.open('rb') as opened:
      yield opened


def list_names(folder) -> list[str]:
  """Returns the names in a folder; [] if the folder does not exist."""
  if is_local(folder):
    return os.listdir(folder) if folder.is_dir() else []
  try:
    objects = _bucket().ls(str(folder), detail=True)
  except FileNotFoundError:
    return []
  # Folders that a browser made have an empty object of their own.
  names = [posixpath.relpath(f['name'], _key(folder)) for f in objects]
  return [name for name in names if name != '.']


def list_files(folder) -> Mapping[str, str]:
  """Returns version stamps of all files below a folder, by path inside it.

  Of a local folder, many lie in a file, see `disk_names`.

  Args:
    folder: folder path.
  """
  if is_local(folder):
    return disk_names.keep_by_name(
      (os.path.relpath(file, folder), version_stamp(pathlib.Path(file)))
      for file in _local_files(folder)
    )
  objects = _bucket().find(str(folder), detail=True)
  return {
    posixpath.relpath(name, _key(folder)): _stamp(facts)
    for name, facts in objects.items()
    if not name.endswith('/')
  }


def _local_files(folder) -> Iterator[str]:
  """Yields the files below a folder; links to folders are not followed."""
  folders = [folder] if os.path.isdir(folder) else []
  while folders:
    with (
      contextlib.suppress(PermissionError, FileNotFoundError),
      os.scandir(folders.pop()) as entries,
    ):
      for entry in entries:
        if entry.is_dir(follow_symlinks=False):
          folders.append(entry.path)
        elif os.path.isfile(entry.path):
          yield entry.path


def version_stamp(file) -> str:
  """Returns a text that changes when a file is written again."""
  if not is_local(file):
    return _stamp(_bucket().info(str(file)))
  stat = file.stat()
  return f'{stat.st_size} {stat.st_mtime_ns}'


def _stamp(facts):
  return f'{facts["size"]} {facts["generation"]}'


def _key(where):
  """Returns a path as gcsfs writes it: 'bucket/folder'."""
  return str(where).removeprefix(_BUCKETS)


def check_reached(folder) -> None:
  """Reads a byte of each object in a folder of a bucket.

  Args:
    folder: folder path.

  Raises:
    Exception: of `failures()`, if the bucket refuses to list or to read.
  """
  objects = _bucket().find(str(folder), detail=True)
  names = [name for name, facts in objects.items() if facts['size']]
  for first in _bucket().cat_ranges(names, 0, 1, on_error='return'):
    refused = isinstance(first, Exception)
    if refused and not isinstance(first, FileNotFoundError):
      raise first


def glob(pattern: str) -> list[str]:
  """Returns the bucket files that match a pattern, sorted.

  Args:
    pattern: 'gs://bucket/...' with * and **.
  """
  objects = _bucket().glob(pattern, detail=True)
  return sorted(
    _BUCKETS + name
    for name, facts in objects.items()
    if facts['type'] == 'file'
  )


def path_inside(folder, name: str):
  """Returns a file path in a bucket's folder.

  Args:
    folder: folder path.
    name: relative file path.

  Returns:
    The path; None if it leaves the folder.
  """
  key = posixpath.normpath(posixpath.join('/', _key(folder), name))
  if not key.startswith(f'/{_key(folder)}/'):
    return None
  return path(_BUCKETS + key[1:])


def remove(where) -> None:
  """Removes a folder with its content, or an object of a bucket.

  Files that cannot be removed stay: they do no harm, or are overwritten later.

  Args:
    where: folder or object path.
  """
  if is_local(where):
    shutil.rmtree(where, ignore_errors=True)
    return
  with contextlib.suppress(*failures()):
    _bucket().rm(str(where), recursive=True)
