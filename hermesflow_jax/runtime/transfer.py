"""Copies of folders between this machine and buckets."""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import pathlib

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import temporary_folders


@contextlib.contextmanager
def local_copy(folder, names: Iterable[str]) -> Iterator[pathlib.Path]:
  """Yields a local folder with copies of files, removed at the end.

  Args:
    folder: folder with the files; a local folder is yielded itself.
    names: paths of the files in the folder; missing files are skipped.

  Raises:
    ValueError: a path leaves the folder.
  """
  if storage.is_local(folder):
    yield folder
    return
  with temporary_folders.TemporaryFolder() as temporary:
    for name in names:
      file = pathlib.Path(temporary, name)
      if '..' in file.parts or not file.is_relative_to(temporary):
        raise ValueError(f'{name} is not in {folder}')
      file.parent.mkdir(parents=True, exist_ok=True)
      with contextlib.suppress(FileNotFoundError):
        file.write_bytes((folder / name).read_bytes())
    yield temporary


class Outbox:
  """A local folder whose files are sent to a bucket; a context manager.

  It is for code that can only write local files. The end of the context sends
  all files.

  Attributes:
    folder: folder to write into; the target itself if that is local.

  Args:
    target: folder that receives the files.
  """

  def __init__(self, target):
    self.folder, self._target = target, target
    self._temporary, self._sent = None, {}
    if not storage.is_local(target):
      self._temporary = temporary_folders.TemporaryFolder()
      self.folder = self._temporary.path

  def send(self) -> None:
    """Sends the files that were written since the last call."""
    if not self._temporary:
      return
    for name, written in storage.list_files(self.folder).items():
      if self._sent.get(name) != written:
        storage.write(self._target / name, (self.folder / name).read_bytes())
        self._sent[name] = written

  def close(self) -> None:
    """Sends the remaining files, and removes the local folder."""
    try:
      self.send()
    finally:
      if self._temporary:
        self._temporary.close()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()
