"""JSON from other sources: NaN, repeated keys and deep nesting are errors."""

from collections.abc import Iterator
import json
import pathlib
import re

# Bytes of the longest file that is read.
MOST_BYTES = 100_000_000
# Lists and objects inside each other; code that visits them needs a stack.
MOST_LEVELS = 200
_TOO_DEEP = 'it is nested too deeply'


def _once(pairs):
  value = dict(pairs)
  if len(value) < len(pairs):
    keys = [k for k, _ in pairs]
    twice = (
      sorted({k for k in keys if keys.count(k) > 1})
      if (len(keys) < 10_000)
      else ['...']
    )
    raise ValueError('duplicate key: ' + ', '.join(map(repr, twice)))
  return value


def _no_constant(text):
  raise ValueError(f'{text} is not JSON')


def parse(text: str | bytes):
  """Returns a JSON text's value.

  Args:
    text: UTF-8.

  Raises:
    ValueError: the text is not JSON, repeats a key, has NaN, or nests too
      deeply.
  """
  try:
    value = json.loads(
      text, object_pairs_hook=_once, parse_constant=_no_constant
    )
  except RecursionError as error:
    raise ValueError(_TOO_DEEP) from error
  marks = (b'[', b'{') if isinstance(text, bytes) else ('[', '{')
  if sum(map(text.count, marks)) > MOST_LEVELS:
    _check_levels(value)
  return value


def _check_levels(value):
  """Raises ValueError for more than MOST_LEVELS values inside each other."""
  values, levels = [value], 0
  while values:
    if levels > MOST_LEVELS:
      raise ValueError(_TOO_DEEP)
    values = [
      item
      for value in values
      if isinstance(value, (list, dict))
      for item in (value.values() if isinstance(value, dict) else value)
    ]
    levels += 1


_DECODER = json.JSONDecoder(
  object_pairs_hook=_once, parse_constant=_no_constant
)
_PLAIN = json.JSONDecoder()
_BETWEEN = re.compile(r'[\s,]*')


def records(text: str) -> Iterator[tuple[str, object]]:
  """Yields the records of a file in any form that scripts write.

  The forms are JSON lines, a JSON list, and values over several lines with
  commas between them but no list around them, which scripts that append to a
  file write. A comma after the last record is accepted.

  Args:
    text: content of the file; a byte order mark is skipped.

  Yields:
    (place, value) for each record: ('line 3', {...}) in JSON lines, or
    ('record 3 (line 31)', {...}). The value of a record that is not JSON is a
    ValueError; the next record then starts at a line with the same indentation
    as the first record.
  """
  text = text.removeprefix('\ufeff')
  if is_lines(text):
    for number, line in enumerate(text.split('\n'), 1):
      line = line.strip()
      if line:
        yield f'line {number}', _value(line.removesuffix(','))
  else:
    yield from _spread(text)


def is_lines(text: str) -> bool:
  """Returns whether each line of a file is a record.

  Args:
    text: content of the file, without byte order mark.
  """
  lines = (line for line in text.split('\n') if line.strip())
  first, second = next(lines, '').strip(), next(lines, '').strip()
  if first.startswith('['):
    # A list of one line is the whole file.
    return bool(second) and _is_json(first)
  if _is_json(first.removesuffix(',')):
    return True
  if first == '{' and second.startswith('"'):
    return False
  try:
    _DECODER.raw_decode(text.lstrip())
  except (ValueError, RecursionError):
    return True
  return False


def _is_json(text):
  return not isinstance(_value(text), ValueError)


def _value(text):
  """Returns a JSON text's value, or a ValueError if it is not JSON."""
  try:
    return parse(text)
  except ValueError as error:
    return error


def _end_of_refused(text, start) -> int | None:
  """Returns where a refused JSON value ends, None if it is also damaged."""
  try:
    return _PLAIN.raw_decode(text, start)[1]
  except (ValueError, RecursionError):
    return None


def _spread(text):
  """Yields the records of a list, or of values with commas between them."""
  at = _BETWEEN.match(text).end()
  listed = text[at] == '['
  if listed:
    at = _BETWEEN.match(text, at + 1).end()
  # Where the next record is looked for after a fault.
  start = text.rfind('\n', 0, at) + 1
  indented = None
  if not text[start:at].strip():
    indented = re.compile('\n' + re.escape(text[start:at]) + r'(?=\{)')
  number, line, seen = 0, 1, 0
  while at < len(text):
    if listed and text[at] == ']':
      rest = text[at + 1 :].strip()
      if rest:
        yield 'the end', ValueError(f'{rest[:40]!r} stands behind the list')
      return
    number += 1
    line, seen = line + text.count('\n', seen, at), at
    place = f'record {number} (line {line})'
    try:
      value, end = _DECODER.raw_decode(text, at)
      _check_levels(value)
    except RecursionError:
      value, end = ValueError(_TOO_DEEP), None
    except json.JSONDecodeError as error:
      value, end = error, None
    except ValueError as error:
      value, end = error, _end_of_refused(text, at)
    if end is None:
      following = indented and indented.search(text, at)
      if not following:
        yield place, ValueError(f'{value}; nothing behind it can be read')
        return
      end = following.end()
    yield place, value
    at = end
    at = _BETWEEN.match(text, at).end()
  if listed:
    yield 'the end', ValueError("the list has no end, add ']'")


def loads(text: str | bytes, name: str) -> dict:
  """Returns a JSON text's object.

  Args:
    text: UTF-8.
    name: the text's name in messages.

  Raises:
    ValueError: see `parse`; or the value is not an object.
  """
  try:
    value = parse(text)
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from error
  if not isinstance(value, dict):
    raise ValueError(f'{name} holds no JSON object')
  return value


def load(path: pathlib.Path) -> dict:
  """Reads a file with a JSON object; see `loads`.

  Args:
    path: file path.

  Raises:
    ValueError: the file cannot be read, is too long, or holds no object.
  """
  try:
    if path.stat().st_size > MOST_BYTES:
      raise ValueError(f'{path} is longer than {MOST_BYTES} bytes')
    return loads(path.read_bytes(), str(path))
  except OSError as error:
    raise ValueError(f'{path} cannot be read: {error.strerror}') from error
