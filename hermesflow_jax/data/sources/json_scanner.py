"""Scans JSON files value by value, with the byte range of each value.

The file is read as Latin-1, in which a character is a byte: positions in the
text are byte offsets, and the structure of JSON is the same as in UTF-8. Texts
in the values are right only where they are ASCII; `utf8` corrects them.
"""

from collections.abc import Iterator
import dataclasses
import json
import pathlib
import re
import typing

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.runtime import disk_names

# Bytes after which a value that has no end is taken as damaged.
MOST_BYTES = 64 * 2**20
# Number of the only member of an empty list.
EMPTY = -1
_BETWEEN = re.compile(r'[\s,]*')
_DECODER = json.JSONDecoder()
_BOM = b'\xef\xbb\xbf'


class DamageError(ValueError):
  """A value that has no end, or characters that are not JSON."""


class FormError(DamageError):
  """A file that is something else than a single JSON object."""


@dataclasses.dataclass(frozen=True)
class Member:
  """A value inside the object that a file consists of.

  Attributes:
    key: key of the object.
    number: position in the list of the key; None for a value without a list,
      EMPTY for a list without elements.
    start: byte offset.
    length: number of bytes.
    value: the value, with texts as Latin-1.
  """

  key: str
  number: int | None
  start: int
  length: int
  value: object


class Scanner:
  """Reads JSON values of an open file, one after the other.

  Attributes:
    line: line number of the current position, from 1.

  Args:
    file: open for reading bytes.
  """

  def __init__(self, file: typing.BinaryIO):
    self._file, self._text, self._base, self._at = file, '', 0, 0
    self._complete = False
    self.line = 1
    self._read_more()
    if self._text.startswith(_BOM.decode('latin-1')):
      self._at = len(_BOM)

  @property
  def position(self) -> int:
    """Byte offset of the next character."""
    return self._base + self._at

  def peek(self) -> str:
    """Returns the next character after spaces and commas; '' at the end."""
    while True:
      end = _BETWEEN.match(self._text, self._at).end()
      self._advance(end)
      if self._at < len(self._text):
        return self._text[self._at]
      if self._complete:
        return ''
      self._read_more()

  def skip(self, character: str) -> bool:
    """Skips the next character if it is `character`; returns whether it is."""
    if self.peek() != character:
      return False
    self._advance(self._at + 1)
    return True

  def value(self) -> tuple[int, int, object]:
    """Reads the next value.

    Returns:
      (byte offset, number of bytes, value with texts as Latin-1).

    Raises:
      DamageError: the value is not JSON, or has no end.
    """
    self.peek()
    while True:
      try:
        value, end = _DECODER.raw_decode(self._text, self._at)
      except (ValueError, RecursionError) as error:
        if self._complete or len(self._text) - self._at > MOST_BYTES:
          raise DamageError(str(error)) from error
      else:
        # A number may continue behind the text that was read.
        if self._complete or end < len(self._text):
          break
      self._read_more()
    start, length = self.position, end - self._at
    self._advance(end)
    return start, length, value

  def _advance(self, end):
    self.line += self._text.count('\n', self._at, end)
    self._at = end

  def _read_more(self):
    """Reads more, and drops the text before the current position."""
    rest = self._text[self._at :]
    data = self._file.read(max(byte_ranges.CHUNK, len(rest)))
    self._complete = not data
    self._base += self._at
    self._text, self._at = rest + data.decode('latin-1'), 0


def members(path: pathlib.PurePath) -> Iterator[Member]:
  """Yields the values inside the object that a file consists of.

  Elements of lists are yielded one by one, e.g. COCO's "images".

  Args:
    path: file, a `storage.path`.

  Raises:
    FormError: the file is no single JSON object.
    DamageError: a value inside the object is damaged.
    ValueError: the file cannot be read.
  """
  with byte_ranges.opened(path) as file:
    # With 0 for each key.
    scanner, keys = Scanner(file), disk_names.Numbers()
    if not scanner.skip('{'):
      raise FormError('it is no JSON object')
    while not scanner.skip('}'):
      key = scanner.value()[2]
      if not isinstance(key, str) or key in keys or not scanner.skip(':'):
        raise DamageError("a key must be a new text with ':' behind it")
      keys[key] = 0
      key = utf8(key)
      if not scanner.skip('['):
        yield Member(key, None, *scanner.value())
        continue
      number = 0
      while not scanner.skip(']'):
        yield Member(key, number, *scanner.value())
        number += 1
      if not number:
        yield Member(key, EMPTY, scanner.position, 0, None)
    if scanner.peek():
      raise FormError('more stands behind the object')


def utf8(text: str) -> str:
  """Returns the text whose bytes were read as Latin-1."""
  try:
    return text.encode('latin-1').decode('utf-8', 'surrogateescape')
  except UnicodeEncodeError:
    # An escape like \u4e00 is a character already.
    return text
