"""Files inside uncompressed tar archives, by byte offset."""

from collections.abc import Iterator
import dataclasses
import pathlib
import tarfile

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.runtime import file_kinds

_UNPACK = {
  b'\x1f\x8b': ('gzip', 'gunzip -k'),
  b'BZh': ('bzip2', 'bunzip2 -k'),
  b'\xfd7zXZ': ('xz', 'unxz -k'),
  b'\x28\xb5\x2f\xfd': ('Zstandard', 'unzstd'),
}
# Where the mark of a tar header stands.
_MARK = slice(257, 262)


@dataclasses.dataclass(frozen=True)
class TarMember:
  """A file in an archive.

  Attributes:
    name: path in the archive.
    start: byte offset of its content in the archive.
    length: number of bytes.
  """

  name: str
  start: int
  length: int


def is_tar(path: pathlib.PurePath) -> bool:
  """Returns whether a file begins with the header of a tar archive.

  Args:
    path: file, a `storage.path`.
  """
  with byte_ranges.opened(path) as file:
    return file.read(512)[_MARK] == b'ustar'


def members(path: pathlib.PurePath) -> Iterator[TarMember]:
  """Yields the files of an archive in order; only headers are read.

  Args:
    path: archive, a `storage.path`.

  Raises:
    ValueError: the archive is compressed, damaged or cut.
  """
  size = byte_ranges.size(path)
  with byte_ranges.opened(path) as file:
    head = file.read(512)
    _check_kind(path, head)
    file.seek(0)
    try:
      with tarfile.open(fileobj=file, mode='r:') as archive:
        while entry := archive.next():
          # tarfile keeps each header that it has read.
          archive.members.clear()
          if entry.size < 0:
            raise tarfile.ReadError(f'{entry.name} has a negative size')
          if entry.offset_data + entry.size > size:
            raise tarfile.ReadError(f'{entry.name} is cut')
          if entry.isreg() and not entry.issparse():
            yield TarMember(entry.name, entry.offset_data, entry.size)
        # tarfile takes a damaged header for the end.
        file.seek(archive.offset)
        if file.read(512) != bytes(512):
          raise tarfile.ReadError(f'no header at byte {archive.offset}')
    except tarfile.TarError as error:
      raise ValueError(
        f'{path} must be a complete tar archive, got damage ({error}); copy it '
        'again'
      ) from error


def _check_kind(path, head):
  """Raises ValueError if the first bytes are of a compressed archive."""
  for mark, (name, command) in _UNPACK.items():
    if head.startswith(mark):
      raise ValueError(
        f'{path} must be an uncompressed tar, got a {name} file; unpack it by '
        f'`{command} {path}` and give the .tar'
      )
  if head[_MARK] != b'ustar' and head.strip(b'\0'):
    kind = file_kinds.name_of_bytes(head) or 'another file'
    raise ValueError(f'{path} must be a tar archive, got {kind}')
