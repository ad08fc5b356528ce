"""Images inside other files, e.g. in a tar shard or a TFDS dataset."""

from collections.abc import Callable
import dataclasses
import hashlib
import io

_SUFFIXES = ((b'\x89PNG', '.png'), (b'RIFF', '.webp'))


@dataclasses.dataclass(frozen=True)
class StoredImage:
  """An image whose bytes are read when it is opened, in place of a path.

  Attributes:
    name: name for messages, e.g. 'shards/000.tar/0001.jpg'.
    load: returns the bytes of the PNG, JPEG or WebP file.
    stamp: text that changes with the bytes, e.g. the time of the shard.
  """

  name: str
  load: Callable[[], bytes] = dataclasses.field(repr=False, compare=False)
  stamp: str

  def __str__(self) -> str:
    return self.name

  @property
  def suffix(self) -> str:
    """Suffix for a file of its own, by the first bytes: '.png' or others."""
    data = self.load()
    for mark, suffix in _SUFFIXES:
      if data.startswith(mark):
        return suffix
    return '.jpg'

  def open(self, mode: str = 'rb') -> io.BytesIO:
    """Opens the image for reading, as `pathlib.Path.open` does.

    Args:
      mode: only 'rb'.
    """
    if mode != 'rb':
      raise ValueError(f"mode must be 'rb', got {mode!r}")
    return io.BytesIO(self.load())

  def sha256(self) -> str:
    """Returns the SHA-256 sum of the bytes."""
    return hashlib.sha256(self.load()).hexdigest()
