"""Records of JSON files by byte offset: lines, lists, values, objects.

The forms are those of `strict_json.records`. A file that is damaged between its
records is read as text, so that the records around the damage are not lost.
"""

import bisect
import json
import pathlib

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import json_scanner
from hermesflow_jax.data.sources import rows
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import strict_json
from hermesflow_jax.runtime import text_files

# Fields that tell records and questions from other objects.
_TYPICAL = frozenset({'caption', 'question', 'conversations'})
# Bytes of the longest damaged file that is read as text.
_MOST_DAMAGED = 2**30


class JsonRows(rows.Rows):
  """Records at byte ranges of a file.

  Args:
    path: file, a `storage.path`.
    places: text of a place, with {number} and {line}.
  """

  def __init__(self, path: pathlib.PurePath, places: str):
    self.path, self._places = path, places
    self._starts, self._lengths = disk_arrays.Integers(), disk_arrays.Integers()
    self._lines = disk_arrays.Integers()

  def append(self, start: int, length: int, line: int) -> None:
    """Adds a record: byte offset, number of bytes, and line number."""
    self._starts.append(start)
    self._lengths.append(length)
    self._lines.append(line)

  def __len__(self):
    return len(self._starts)

  def place(self, number):
    """See `Rows`."""
    return self._places.format(number=number + 1, line=self._lines[number])

  def read(self, number):
    """See `Rows`."""
    return read_value(self.path, self._starts[number], self._lengths[number])


class MemberRows(rows.Rows):
  """Records inside the object that a file consists of.

  Args:
    path: file, a `storage.path`.
  """

  def __init__(self, path: pathlib.PurePath):
    self.path = path
    self._keys = disk_objects.Store()
    # First record of each key, and whether the key has a list.
    self._firsts, self._lists = disk_arrays.Integers(), disk_arrays.Integers()
    self._starts, self._lengths = disk_arrays.Integers(), disk_arrays.Integers()

  def append(self, member: json_scanner.Member) -> None:
    """Adds a record; an empty list only counts as a key."""
    if member.number in (None, 0, json_scanner.EMPTY):
      self._keys.add(member.key)
      self._firsts.append(len(self._starts))
      self._lists.append(member.number is not None)
    if member.number == json_scanner.EMPTY:
      return
    self._starts.append(member.start)
    self._lengths.append(member.length)

  @property
  def is_wrapped(self) -> bool:
    """Whether the object only surrounds a list, as in {"data": [...]}."""
    return len(self._keys) == 1 and bool(self._lists[0])

  def __len__(self):
    return len(self._starts)

  def _key(self, number):
    """Returns (key, position in its list or None) of a record."""
    index = bisect.bisect_right(self._firsts, number) - 1
    inside = number - self._firsts[index] if self._lists[index] else None
    return self._keys.read(index), inside

  def place(self, number):
    """See `Rows`."""
    key, inside = self._key(number)
    return key if inside is None else f'{key}[{inside}]'

  def read(self, number):
    """See `Rows`."""
    value = read_value(self.path, self._starts[number], self._lengths[number])
    if self.is_wrapped or not isinstance(value, dict):
      return value
    return {'id': self._key(number)[0]} | value


def read_value(path: pathlib.PurePath, start: int, length: int) -> object:
  """Returns the JSON value at a byte range, or a ValueError for damage.

  Args:
    path: file, a `storage.path`.
    start: byte offset.
    length: number of bytes.
  """
  data = byte_ranges.read(path, start, length)
  try:
    text = data.decode('utf-8', 'surrogateescape').strip()
    return strict_json.parse(text.removesuffix(','))
  except ValueError as error:
    return error


def index_file(path: pathlib.PurePath) -> rows.Rows:
  """Returns the records of a file in any form of `strict_json.records`.

  An object around all records is {"data": [record, ...]}, {id: record, ...} or
  {id: [question, ...], ...}, in which the key is the id of a record without an
  id.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read, or is no text.
  """
  head, complete = _head(path)
  text_files.check(path, head if complete else head[: head.rfind(b'\n') + 1])
  # Each record of a file in a bucket would cost a request.
  if not storage.is_local(path) or b'\r' in head.replace(b'\r\n', b''):
    return _as_text(path)
  try:
    index = _records(path, head, complete)
  except json_scanner.DamageError:
    return _as_text(path)
  return (_named_records(index) if len(index) == 1 else None) or index


def _head(path) -> tuple[bytes, bool]:
  """Returns (first bytes of a file, whether these are all).

  An object in the first line may be the file or a record, so the bytes then
  have the line and a next line.
  """
  with byte_ranges.opened(path) as file:
    head = file.read(byte_ranges.CHUNK)
    while data := file.read(len(head) or byte_ranges.CHUNK):
      listed = head.removeprefix(b'\xef\xbb\xbf').lstrip()[:1] == b'['
      lines = [line for line in head.split(b'\n')[:-1] if line.strip()]
      if listed or len(lines) > 1 or len(head) > json_scanner.MOST_BYTES:
        return head, False
      head += data
  return head, True


def _as_text(path) -> rows.Rows:
  """Returns the records of a file that is held in memory."""
  if byte_ranges.size(path) > _MOST_DAMAGED:
    raise ValueError(
      f'{path} must be JSON, got a damaged file of more than {_MOST_DAMAGED} '
      'bytes; copy it again, or write its records as JSON lines'
    )
  index = rows.MemoryRows(strict_json.records(text_files.read(path)))
  if len(index) == 1:
    parts = _named_values(index.read(0))
    return rows.MemoryRows(parts) if parts else index
  return index


def _records(path, head, complete) -> JsonRows:
  """Returns the records of a file, without a look into a single object."""
  if complete:
    lines = strict_json.is_lines(head.decode('utf-8-sig', 'surrogateescape'))
  else:
    lines = _starts_with_lines(path, head)
  if lines:
    return _line_records(path)
  index = JsonRows(path, 'record {number} (line {line})')
  with byte_ranges.opened(path) as file:
    scanner = json_scanner.Scanner(file)
    listed = scanner.skip('[')
    while (character := scanner.peek()) and not (listed and character == ']'):
      line, start = scanner.line, scanner.position
      try:
        _, length, _ = scanner.value()
      except json_scanner.DamageError:
        length = byte_ranges.size(path) - start
        if listed or len(index) or length <= json_scanner.MOST_BYTES:
          raise
        # The file is taken for a single long object.
        index.append(start, length, line)
        return index
      index.append(start, length, line)
    if listed and not (scanner.skip(']') and not scanner.peek()):
      raise json_scanner.DamageError('the list has no end')
  return index


def _starts_with_lines(path, head) -> bool:
  """Returns whether the lines of a long file are its records."""
  text = head.decode('utf-8-sig', 'surrogateescape')
  lines = [line.strip() for line in text.split('\n')[:-1]]
  first, second = ([line for line in lines if line] + ['', ''])[:2]
  if not first:
    return text.lstrip()[:1] not in ('[', '{')
  if first.startswith('[') or (first == '{' and second.startswith('"')):
    return first.startswith('[') and bool(second) and _is_json(first)
  if _is_json(first.removesuffix(',')):
    return True
  with byte_ranges.opened(path) as file:
    try:
      json_scanner.Scanner(file).value()
    except json_scanner.DamageError:
      return True
  return False


def _is_json(text):
  try:
    json.loads(text)
  except (ValueError, RecursionError):
    return False
  return True


def _line_records(path) -> JsonRows:
  """Returns the records of JSON lines."""
  index, start = JsonRows(path, 'line {line}'), 0
  with byte_ranges.opened(path) as file:
    for number, line in enumerate(file, 1):
      if b'\r' in line.removesuffix(b'\r\n'):
        raise json_scanner.DamageError('it has line ends of several kinds')
      text = line.decode(
        'utf-8-sig' if number == 1 else 'utf-8', 'surrogateescape'
      )
      # The mark at the start of a file is no part of its first record.
      mark = 3 * (number == 1 and line.startswith(b'\xef\xbb\xbf'))
      if text.strip():
        index.append(start + mark, len(line) - mark, number)
      start += len(line)
  return index


def _named_records(index) -> MemberRows | None:
  """Returns the records inside a file's only value; None for one record."""
  members, typical, others = MemberRows(index.path), 0, 0
  try:
    for member in json_scanner.members(index.path):
      empty = member.number == json_scanner.EMPTY
      if member.key == 'id' or not (empty or isinstance(member.value, dict)):
        return None
      members.append(member)
      if not empty and not _TYPICAL.isdisjoint(member.value):
        typical += 1
      else:
        others += not empty
      # COCO's object of images, annotations and licenses is no such object.
      if others and not members.is_wrapped:
        return None
  except json_scanner.DamageError:
    return None
  return members if typical else None


def _named_values(value) -> list[tuple[str, object]]:
  """Returns (place, record) inside an object in memory; see `index_file`."""
  if not isinstance(value, dict) or 'id' in value:
    return []
  parts = [
    (key, number, record)
    for key, part in value.items()
    for number, record in (
      enumerate(part) if isinstance(part, list) else [(None, part)]
    )
  ]
  if not all(isinstance(record, dict) for _, _, record in parts):
    return []
  wrapped = len(value) == 1 and isinstance(next(iter(value.values())), list)
  known = [not _TYPICAL.isdisjoint(record) for _, _, record in parts]
  if not (any(known) if wrapped else known and all(known)):
    return []
  return [
    (
      key if number is None else f'{key}[{number}]',
      record if wrapped else {'id': key} | record,
    )
    for key, number, record in parts
  ]
