"""Reads the values of annotation files, and checks their texts and ids."""

from collections.abc import Callable
from collections.abc import Iterable
import itertools
import re

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import strict_json
from hermesflow_jax.runtime import text_files
from hermesflow_jax.runtime import user_text

NAME = re.compile(r'[A-Za-z0-9._-]{1,128}')
# Fields that tell records and questions from other objects.
_TYPICAL = frozenset({'caption', 'question', 'conversations'})
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


def iterate_values(path: str) -> Iterable[tuple[str, object]]:
  """Yields (place, value) for each record; see `strict_json.records`.

  Args:
    path: annotation file.

  Raises:
    ValueError: the file cannot be read.
  """
  values = strict_json.records(text_files.read(storage.path(path)))
  first = list(itertools.islice(values, 2))
  if len(first) == 1 and (parts := _named_records(first[0][1])):
    yield from parts
    return
  yield from first
  yield from values


def _named_records(value) -> list[tuple[str, object]]:
  """Returns the records that an object around all records holds, or [].

  Forms are {"data": [record, ...]}, {id: record, ...} and {id: [question, ...],
  ...}, in which the key is the id of a record without one.
  """
  if not isinstance(value, dict) or 'id' in value:
    return []
  lists = {
    key: part if isinstance(part, list) else [part]
    for key, part in value.items()
  }
  records = list(itertools.chain(*lists.values()))
  if not all(isinstance(record, dict) for record in records):
    return []
  wrapped = len(value) == 1 and isinstance(next(iter(value.values())), list)
  known = [not _TYPICAL.isdisjoint(record) for record in records]
  # COCO's object of images, annotations and licenses is no such object.
  if not (any(known) if wrapped else known and all(known)):
    return []
  return [
    (
      f'{key}[{number}]' if isinstance(value[key], list) else key,
      record if wrapped else {'id': key} | record,
    )
    for key, part in lists.items()
    for number, record in enumerate(part)
  ]


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
  places, characters = [], {}
  for place, value in iterate_values(path):
    value, odd = user_text.normalize_fields(value, _KEPT)
    if odd:
      places.append(place)
      characters |= dict.fromkeys(odd)
    yield place, value
  if places:
    say(
      f'warning: {path}: odd spaces and invisible characters are replaced in '
      f'{len(places)} records, first in {places[0]}: {", ".join(characters)}'
    )


def get_text(row: dict, key: str) -> str:
  """Returns a text field of a record.

  Args:
    row: record.
    key: field name.

  Raises:
    ValueError: the text is missing or empty, or see `user_text.check`.
  """
  value = row.get(key)
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f'{key} must be text, got {user_text.quote(value)}')
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
  if type(row.get('id')) is int:
    return str(row['id'])
  if 'id' not in row:
    fields = ', '.join(map(user_text.quote, list(row)[:8])) or 'none'
    raise ValueError(f'id must be text, got None; the fields are {fields}')
  name = get_text(row, 'id')
  if not NAME.fullmatch(name):
    raise ValueError(
      f'id must be 1 to 128 of [A-Za-z0-9._-], got {user_text.quote(name)}'
    )
  return name
