"""Reads the values of annotation files, and checks their texts and ids."""

from collections.abc import Callable
from collections.abc import Iterable

from hermesflow_jax.data.sources import json_rows
from hermesflow_jax.data.sources import record_names
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text

NAME = record_names.NAME
# Fields whose characters stay: names of files and records, and captions of
# pairs, which a model wrote.
_KEPT = (
  'id',
  'img_path',
  'image',
  'image_win',
  'image_lose',
  'caption_win',
  'caption_lose',
)
# Digits of an id, as in `record_names.NAME`.
_MOST_DIGITS = 128
# Characters of the longest text of a record, which a tokenizer reads at once.
MOST_CHARACTERS = 2**20


def iterate_values(path: str) -> Iterable[tuple[str, object]]:
  """Yields (place, value) for each record; see `json_rows.index_file`.

  Args:
    path: annotation file.

  Raises:
    ValueError: the file cannot be read.
  """
  rows = json_rows.index_file(storage.path(path))
  for number in range(len(rows)):
    yield rows.place(number), rows.read(number)


def normalized_values(
  path: str, say: Callable[[str], None]
) -> Iterable[tuple[str, object]]:
  """Yields (place, value) for each record, see `user_text.normalize_fields`.

  Args:
    path: annotation file.
    say: receives a line if odd characters were replaced.

  Raises:
    ValueError: the file cannot be read.
  """
  odd = OddCharacters()
  for place, value in iterate_values(path):
    yield place, odd.normalize(place, value)
  odd.report(path, say)


def normalize(value: object) -> tuple[object, list[str]]:
  """Returns a record with plain texts, and its odd characters.

  Args:
    value: record; see `user_text.normalize_fields`.
  """
  return user_text.normalize_fields(value, _KEPT)


class OddCharacters:
  """Replaces odd characters in records, and reports them together."""

  def __init__(self):
    self._count, self._first, self._characters = 0, '', {}

  def normalize(self, place: str, value: object) -> object:
    """Returns a record with plain texts.

    Args:
      place: where the record stands.
      value: record.
    """
    value, odd = normalize(value)
    if odd:
      self._count += 1
      self._first = self._first or place
      self._characters |= dict.fromkeys(odd)
    return value

  def report(self, origin: str, say: Callable[[str], None]) -> None:
    """Reports the replaced characters in a line, if any.

    Args:
      origin: name of the data set.
      say: receives the line.
    """
    if self._count:
      say(
        f'warning: {origin}: odd spaces and invisible characters are replaced '
        f'in {self._count} records, first in {self._first}: '
        f'{", ".join(self._characters)}'
      )


def get_text(row: dict, key: str) -> str:
  """Returns a text field of a record.

  Args:
    row: record.
    key: field name.

  Raises:
    ValueError: the text is missing, empty or longer than a million characters,
      or see `user_text.check`.
  """
  value = row.get(key)
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f'{key} must be text, got {user_text.quote(value)}')
  if len(value) > MOST_CHARACTERS:
    raise ValueError(
      f'{key} must have at most {MOST_CHARACTERS} characters, got {len(value)}'
    )
  user_text.check(key, value)
  return value


def get_id(row: object) -> str:
  """Returns the id of a record as text.

  Args:
    row: record, or the ValueError that stands for a damaged record.

  Raises:
    ValueError: `row` is a ValueError or not a JSON object, or its id is not a
      valid file name.
  """
  if isinstance(row, ValueError):
    raise row
  if not isinstance(row, dict):
    raise ValueError('a record must be a JSON object')
  name = row.get('id')
  # type() because True is an int, too.
  if type(name) is int:
    name = str(name)
    if len(name) <= _MOST_DIGITS:
      return name
    raise ValueError(
      f'id must have at most {_MOST_DIGITS} digits, got {user_text.quote(name)}'
    )
  if 'id' not in row:
    fields = ', '.join(map(user_text.quote, list(row)[:8])) or 'none'
    raise ValueError(f'id must be text, got None; the fields are {fields}')
  name = get_text(row, 'id')
  if not NAME.fullmatch(name):
    raise ValueError(
      f'id must be 1 to 128 of [A-Za-z0-9._-], got {user_text.quote(name)}'
    )
  return name
