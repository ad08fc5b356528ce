"""Reads `pytorch_model.bin` files without PyTorch and without running code.

Such a file is a zip archive with `data.pkl`, a pickle of {name: tensor}, and a
member with raw bytes for each storage. Members must be stored, not compressed.
"""

from collections.abc import Callable
from collections.abc import Mapping
import errno
import io
import pathlib
import zipfile

from conversions.files import pickle_records
from conversions.files import state_dicts
from conversions.files import tensors
from conversions.files import torch_pickle

MOST_PICKLE_BYTES = 64_000_000


def read(
  path: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, tensors.Tensor]:
  """Reads names and byte ranges; tensors are read on demand.

  Args:
    path: zip archive written by `torch.save`.
    say: receives a line if the tensors lie within another dictionary, e.g.
      {'module': tensors}.

  Returns:
    Tensors by name.

  Raises:
    ValueError: the file is damaged or needs more than tensors. The
      one-line message names the file.
  """

  def select(contents):
    indices, keys = state_dicts.select(contents.value, torch_pickle.TensorIndex)
    if keys:
      say(f'{path.name}: taking the tensors in {state_dicts.place(keys)}')
    return {name: contents.tensors[i] for name, i in indices.items()}

  return _load(path, False, select)


def read_contents(
  path: pathlib.Path,
  start: int = 0,
  length: int | None = None,
  records: Mapping[str, type[pickle_records.Record]] | None = None,
) -> torch_pickle.Contents:
  """Reads all that a file holds; objects of unknown types become empty.

  Args:
    path: zip archive written by `torch.save`, or a file of several.
    start: first byte of the archive.
    length: bytes of the archive; by default all that follow.
    records: see `torch_pickle.load`.

  Raises:
    ValueError: the file is damaged. The one-line message names it.
  """
  return _load(path, True, lambda contents: contents, start, length, records)


class _Section(io.RawIOBase):
  """A part of a file, as a file of its own."""

  def __init__(self, file, start: int, length: int):
    super().__init__()
    self._file, self._start, self._length = file, start, length
    self._place = 0

  def seekable(self):
    """Returns True."""
    return True

  def readable(self):
    """Returns True."""
    return True

  def seek(self, offset, whence=io.SEEK_SET):
    """Moves to a byte of the part."""
    origins = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}
    place = origins.get(whence, self._length) + offset
    if place < 0:
      raise OSError(errno.EINVAL, f'byte {place} of a file')
    self._place = place
    return place

  def readinto(self, buffer):
    """Reads bytes of the part alone."""
    self._file.seek(self._start + self._place)
    count = max(0, min(len(buffer), self._length - self._place))
    data = self._file.read(count)
    buffer[: len(data)] = data
    self._place += len(data)
    return len(data)


def _load(
  path, skip_unknown: bool, select, start: int = 0, length=None, records=None
):
  """Returns `select(contents)`; errors of both become one line."""
  with open(path, 'rb') as file:
    size = path.stat().st_size - start if length is None else length
    section = _Section(file, start, size)
    if not zipfile.is_zipfile(section):
      raise ValueError(
        f'{path} must be a zip archive; it is damaged or older than PyTorch '
        '1.6: save it again with PyTorch, preferably as safetensors'
      )
    try:
      with zipfile.ZipFile(section) as archive:
        members = _members(archive, file, start, size)
        return select(_contents(file, members, path, skip_unknown, records))
    except ValueError as error:
      raise ValueError(f'{path}: {error}') from error
    # A hostile pickle can raise any exception.
    except Exception as error:
      raise ValueError(
        f'{path} is damaged: {type(error).__name__} {str(error)[:200]!r}'
      ) from error


def _contents(
  file, members, path, skip_unknown, records
) -> torch_pickle.Contents:
  """Reads the pickle of an archive."""
  first, count = torch_pickle.member(members, 'data.pkl')
  if count > MOST_PICKLE_BYTES:
    raise ValueError(f'a pickle of {count} bytes is too long')
  if 'byteorder' in members:
    order, length = members['byteorder']
    if _bytes(file, order, min(length, 16)) != b'little':
      raise ValueError('byte order must be little-endian')
  if any(name.startswith('code/') for name in members):
    raise ValueError(f'it is a TorchScript program: {torch_pickle.WAY_ON}')
  data = _bytes(file, first, count)
  return torch_pickle.load(data, members, path, skip_unknown, records)


def _bytes(file, start: int, count: int) -> bytes:
  file.seek(start)
  return file.read(count)


def _members(
  archive, file, origin: int, size: int
) -> dict[str, tuple[int, int]]:
  """Returns name without the archive's folder -> (first byte, byte count).

  Args:
    archive: archive of `size` bytes that begins at byte `origin` of a file.
    file: the file.
    origin: first byte.
    size: bytes of the archive.
  """
  members, top = {}, None
  for info in archive.infolist():
    folder, _, name = info.filename.partition('/')
    top = top or folder
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
      raise ValueError(f'member {info.filename[:200]!r} is compressed')
    if info.file_size != info.compress_size:
      raise ValueError(f'member {info.filename[:200]!r} has two sizes')
    if not name or folder != top or name in members:
      raise ValueError(f'unexpected member {info.filename[:200]!r}')
    local = _bytes(file, origin + max(0, info.header_offset), 30)
    if info.header_offset < 0 or len(local) < 30 or local[:4] != b'PK\x03\x04':
      raise ValueError(f'member {info.filename[:200]!r} has no local header')
    # Only the local header has the lengths of the name and its padding.
    start = (
      info.header_offset
      + 30
      + sum(int.from_bytes(local[i : i + 2], 'little') for i in (26, 28))
    )
    if start + info.file_size > size:
      raise ValueError(f'member {info.filename[:200]!r} leaves the file')
    members[name] = (origin + start, info.file_size)
  return members
