"""Finds image files in a local folder or a bucket."""

from collections.abc import Iterable
import concurrent.futures
import hashlib
import pathlib
import unicodedata

from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text


def content_hash(paths: Iterable[pathlib.PurePath]) -> str | None:
  """Returns a SHA-256 over the bytes of image files, in order.

  Args:
    paths: image files.

  Returns:
    The hash; None if a file is in a bucket, which would have to be downloaded,
    or cannot be read.
  """
  paths = list(paths)
  stored = stored_image.StoredImage
  if not all(isinstance(p, stored) or storage.is_local(p) for p in paths):
    return None
  try:
    with concurrent.futures.ThreadPoolExecutor() as pool:
      hashes = list(pool.map(_sha256, paths))
  except ValueError:
    return None
  return hashlib.sha256('\n'.join(hashes).encode()).hexdigest()


def _sha256(path) -> str:
  """Returns the hash of an image, in a file of its own or in another file."""
  if isinstance(path, stored_image.StoredImage):
    return path.sha256()
  return output_files.sha256(path)


class ImageFolder:
  """Finds images by name and refuses paths outside the folder.

  A bucket folder is listed once, when the object is built.

  Args:
    folder: folder path.
    also: another local folder that absolute names may lie in; '' for none.

  Raises:
    ValueError: `folder` is a file, or a circle of links.
  """

  def __init__(self, folder: str, also: str = ''):
    self.root, self._listed = storage.path(folder), None
    self._also = ()
    if storage.is_local(self.root):
      self.root = _resolved(self.root)
      if self.root.is_file():
        raise ValueError(f'images must be a folder, got the file {folder}')
      if also:
        self._also = (_resolved(pathlib.Path(also)),)
    else:
      self._listed = storage.list_files(self.root)

  def find(self, name: str, key: str = 'img_path'):
    """Returns the path of an image.

    Args:
      name: path relative to the folder, or an absolute path inside it.
      key: field name for error messages.

    Raises:
      ValueError: the path leaves the folder, or the file does not exist.
    """
    if '://' in name and not name.startswith(f'{self.root}/'):
      raise ValueError(
        f'{key} must be a file in {self.root}, got {user_text.quote(name)}; '
        'download the image'
      )
    try:
      if self._listed is None:
        path = self._local(name)
        exists = path and path.is_file()
        # Systems write an accent as a letter of its own, or not.
        for form in () if exists or name.isascii() else ('NFC', 'NFD'):
          other = self._local(unicodedata.normalize(form, name))
          if other and other.is_file():
            path, exists = other, True
      else:
        path = storage.path_inside(
          self.root, name.removeprefix(f'{self.root}/')
        )
        exists = path and str(path.relative_to(self.root)) in self._listed
    except OSError as error:  # For example, a name that is too long.
      raise ValueError(f'{key}: {error.strerror}') from error
    if path is None:
      raise ValueError(f'{key} {name!r} leaves {self.root}')
    if not exists:
      raise ValueError(f'there is no image {path}')
    return path

  def _local(self, name) -> pathlib.Path | None:
    """Returns the path of a local name; None if it leaves the folders."""
    path = _resolved(self.root / name)
    inside = any(path.is_relative_to(root) for root in (self.root, *self._also))
    return path if inside else None

  def stamp(self, path) -> str:
    """Returns a text that changes with the image, e.g. its size and time."""
    if isinstance(path, stored_image.StoredImage):
      return path.stamp
    if self._listed is None:
      return storage.version_stamp(path)
    return self._listed[str(path.relative_to(self.root))]


def _resolved(path: pathlib.Path) -> pathlib.Path:
  """Returns a path without links.

  Raises:
    ValueError: links lead in a circle.
  """
  try:
    return path.resolve()
  except RuntimeError as error:
    raise ValueError(
      f'{path} must lead to a file, got links that lead in a circle'
    ) from error
