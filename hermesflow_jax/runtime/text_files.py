"""Reads UTF-8 text files of users."""

import pathlib
import typing

from hermesflow_jax.runtime import file_kinds
from hermesflow_jax.runtime import storage


def read(path: pathlib.PurePath) -> str:
  r"""Returns the text of a file, without byte order mark, with '\n' line ends.

  A byte that is not UTF-8 becomes a lone surrogate, so that `user_text.check`
  refuses the text around it and not the complete file.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read, is of another kind, or most of its
      lines are no UTF-8 text.
  """
  try:
    file_kinds.check_regular(path)
    data = path.read_bytes()
  except (*storage.failures(), ValueError) as error:
    reason = getattr(error, 'strerror', None) or error
    raise ValueError(f'{path} cannot be read: {reason}') from error
  check(path, data)
  text = data.decode('utf-8-sig', 'surrogateescape')
  return text.replace('\r\n', '\n').replace('\r', '\n')


# Bytes that `check_beginning` reads.
_BEGINNING = 2**20


def check_beginning(path: pathlib.PurePath, file: typing.BinaryIO) -> bytes:
  """Checks the first lines of a file; see `check`.

  Args:
    path: file, for the error.
    file: open for reading bytes; its position is at the beginning, and is so
      again.

  Returns:
    The lines, at most a mebibyte.

  Raises:
    ValueError: see `check`.
  """
  head = file.read(_BEGINNING)
  if file.read(1):
    head = head[: max(head.rfind(b'\n'), head.rfind(b'\r')) + 1]
  check(path, head.replace(b'\r', b'\n'))
  file.seek(0)
  return head


def check(path: pathlib.PurePath, data: bytes) -> None:
  """Raises ValueError for bytes that are no UTF-8 text.

  Args:
    path: file of the bytes, for the error.
    data: content of the file, or its first lines.

  Raises:
    ValueError: the bytes begin a file of another kind, or most of their lines
      are no UTF-8 text.
  """
  text = data.decode('utf-8-sig', 'surrogateescape')
  lines = [line for line in text.split('\n') if line.strip()]
  kind = file_kinds.name_of_bytes(data)
  # A text may begin like a file of another kind, e.g. 'GIF89 is a format'.
  foreign = sum(map(_is_text, lines)) < len(lines) / 2
  if foreign or kind.startswith(('a Git LFS', 'a web page')):
    raise ValueError(
      f'{path} cannot be read: it must be UTF-8 text, got '
      + (kind or f'the bytes {data[:20]!r}; save it as UTF-8')
    )


def _is_text(line):
  """Returns whether a line is UTF-8 without NUL bytes."""
  try:
    line.encode()
  except UnicodeEncodeError:
    return False
  return '\0' not in line
