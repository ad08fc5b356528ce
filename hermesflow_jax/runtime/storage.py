"""Files of runs, in folders of this machine or in buckets: gs://bucket/folder.

An object of a bucket appears whole or not at all. There is no rename, no lock
and no append, and a folder is only what the names of objects begin with.
"""

from collections.abc import Iterator
import contextlib
import functools
import io
import logging
import os
import pathlib
import posixpath
import shutil
import sys

# Paths of buckets go through gcsfs also where TensorFlow is installed; read
# once, when the first path is made by anyone.
os.environ.setdefault('EPATH_USE_TF', 'false')
_BUCKETS = 'gs://'


@functools.cache
def _bucket():
  """The filesystem of all buckets; ValueError if nothing here speaks to it."""
  # Buckets with other rules than most, which are asked for at every call.
  os.environ.setdefault('GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT', 'false')
  try:
    import fsspec
    import gcsfs
  except ImportError as error:
    raise ValueError('gs:// wants `pip install gcsfs`') from error
  del gcsfs
  # Its errors are raised, too.
  logging.getLogger('gcsfs').setLevel(logging.CRITICAL)
  # What others write is seen at once.
  fsspec.config.conf.setdefault('gcs', {})['use_listings_cache'] = False
  # The one that epath has.
  return fsspec.filesystem('gcs', finalize_on_close=True)


def path(name: str | os.PathLike):
  """Returns a name as a path: a `pathlib.Path`, or an `epath.Path` in a bucket.

  Args:
    name: 'folder/file' or 'gs://bucket/folder/file'; a path stays what it is.

  Raises:
    ValueError: it is of another scheme, or gcsfs is not installed.
  """
  if isinstance(name, pathlib.PurePath):
    return name
  scheme, mark, place = os.fspath(name).partition('://')
  if not mark:
    return pathlib.Path(name)
  if f'{scheme}{mark}' != _BUCKETS or not place.strip('/'):
    raise ValueError(
      f'{name} is no path, wanted a folder or gs://bucket/folder'
    )
  _bucket()
  from etils import epath

  return epath.Path(name)


def is_local(where) -> bool:
  """Returns whether a path is one of this machine."""
  return isinstance(where, pathlib.Path)


def failures() -> tuple[type[Exception], ...]:
  """Returns what is raised where files or buckets cannot be reached."""
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
  """Makes a folder and those above it; in a bucket there is nothing to make."""
  if is_local(folder):
    folder.mkdir(parents=True, exist_ok=True)


def check_writable(folder) -> None:
  """Makes a folder; OSError if nothing can be written into it."""
  if is_local(folder):
    make_folder(folder)
    if not os.access(folder, os.W_OK):
      raise OSError('it is read-only')
  else:
    write(folder / 'writable.tmp', b'')
    remove(folder / 'writable.tmp')


def write(file, data: bytes) -> None:
  """Writes a file that appears whole or not at all."""
  if not is_local(file):
    _bucket().pipe_file(str(file), data)
    return
  make_folder(file.parent)
  # One name, so that what a killed process left is written over.
  temporary = file.with_name(file.name + '.tmp')
  with open(temporary, 'wb') as opened:
    opened.write(data)
    opened.flush()
    os.fsync(opened.fileno())
  os.replace(temporary, file)


def create(file, data: bytes) -> bool:
  """Writes an object of a bucket unless it is there; returns whether it did.

  Of several who do so at once, one does.
  """
  try:
    _bucket().pipe_file(str(file), data, mode='create')
  except FileExistsError:
    return False
  return True


def open_text(file) -> io.TextIOBase:
  """Opens a file of UTF-8 for reading."""
  if is_local(file):
    return open(file, encoding='utf-8')
  return io.TextIOWrapper(io.BytesIO(file.read_bytes()), encoding='utf-8')


@contextlib.contextmanager
def open_bytes(file) -> Iterator:
  """Yields what readers of files take: a path, or an open object."""
  if is_local(file):
    yield file
  else:
    with file.open('rb') as opened:
      yield opened


def list_names(folder) -> list[str]:
  """Returns the names of what is in a folder; [] if it is not there."""
  if is_local(folder):
    return os.listdir(folder) if folder.is_dir() else []
  try:
    found = _bucket().ls(str(folder), detail=True)
  except FileNotFoundError:
    return []
  # A browser leaves an empty object where it makes a folder.
  found = [posixpath.relpath(f['name'], _key(folder)) for f in found]
  return [name for name in found if name != '.']


def list_files(folder) -> dict[str, str]:
  """Returns the files at any depth below a folder, by their paths from there.

  Each with what changes when it is written, e.g. its size and time.
  """
  if is_local(folder):
    files = [each for each in folder.rglob('*') if each.is_file()]
    return {
      str(each.relative_to(folder)): version_stamp(each) for each in files
    }
  found = _bucket().find(str(folder), detail=True)
  return {
    posixpath.relpath(name, _key(folder)): _stamp(facts)
    for name, facts in found.items()
    if not name.endswith('/')
  }


def version_stamp(file) -> str:
  """Returns what changes when a file is written again."""
  if not is_local(file):
    return _stamp(_bucket().info(str(file)))
  stat = file.stat()
  return f'{stat.st_size} {stat.st_mtime_ns}'


def _stamp(facts):
  return f'{facts["size"]} {facts["generation"]}'


def _key(where):
  """'bucket/folder', as gcsfs has it."""
  return str(where).removeprefix(_BUCKETS)


def check_reached(folder) -> None:
  """Raises one of `failures()` if a bucket refuses a folder or parts of it."""
  found = _bucket().find(str(folder), detail=True)
  names = [name for name, facts in found.items() if facts['size']]
  for first in _bucket().cat_ranges(names, 0, 1, on_error='return'):
    refused = isinstance(first, Exception)
    if refused and not isinstance(first, FileNotFoundError):
      raise first


def glob(pattern: str) -> list[str]:
  """Returns the files of a bucket that a pattern with * and ** means."""
  found = _bucket().glob(pattern, detail=True)
  return sorted(
    _BUCKETS + name for name, facts in found.items() if facts['type'] == 'file'
  )


def path_inside(folder, name: str):
  """Returns the path of a name in a bucket's folder; None if it leaves it."""
  key = posixpath.normpath(posixpath.join('/', _key(folder), name))
  if not key.startswith(f'/{_key(folder)}/'):
    return None
  return path(_BUCKETS + key[1:])


def remove(where) -> None:
  """Removes a folder with all below it, or an object of a bucket.

  What cannot be removed stays: it is in nobody's way, or will be written over.
  """
  if is_local(where):
    shutil.rmtree(where, ignore_errors=True)
    return
  with contextlib.suppress(*failures()):
    _bucket().rm(str(where), recursive=True)
