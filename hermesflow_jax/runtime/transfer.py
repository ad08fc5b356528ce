"""Folders of this machine copied to and from buckets."""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import pathlib
import tempfile

from hermesflow_jax.runtime import storage


@contextlib.contextmanager
def local_copy(folder, wanted: Iterable[str]) -> Iterator[pathlib.Path]:
  """Yields a folder of this machine with the same files, while it is open.

  Args:
    folder: where they are; yielded itself if it is of this machine.
    wanted: the files, by their paths from there; those missing are passed over.
  """
  if storage.is_local(folder):
    yield folder
    return
  with tempfile.TemporaryDirectory() as room:
    for name in wanted:
      file = pathlib.Path(room, name)
      if '..' in file.parts or not file.is_relative_to(room):
        raise ValueError(f'{name} is not in {folder}')
      file.parent.mkdir(parents=True, exist_ok=True)
      with contextlib.suppress(FileNotFoundError):
        file.write_bytes((folder / name).read_bytes())
    yield pathlib.Path(room)


class Outbox:
  """A folder of this machine whose files are sent to another.

  For what writes only here. A context manager: all is sent at its end.

  Attributes:
    folder: where to write; the target itself if that is of this machine.

  Args:
    target: where the files come to be.
  """

  def __init__(self, target):
    self.folder, self._target = target, target
    self._room, self._sent = None, {}
    if not storage.is_local(target):
      self._room = tempfile.TemporaryDirectory()
      self.folder = pathlib.Path(self._room.name)

  def send(self) -> None:
    """Sends what was written since the last time."""
    if not self._room:
      return
    for name, written in storage.list_files(self.folder).items():
      if self._sent.get(name) != written:
        storage.write(self._target / name, (self.folder / name).read_bytes())
        self._sent[name] = written

  def close(self) -> None:
    """Sends the rest, and removes what is here."""
    try:
      self.send()
    finally:
      if self._room:
        self._room.cleanup()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()
