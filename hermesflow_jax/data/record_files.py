"""Reads image-caption records from annotation files.

A record is {"id", "img_path", "caption", "questions"}. Questions have TIFA form
(arXiv 2303.11897). They may stand in a separate TIFA file, joined by id. Both
files may be JSON lines, a JSON list, or records separated by commas, as the
scripts of HermesFlow write them (`initial_data.json`, `vqa_data.json`). Numeric
ids become text. All faults are reported before training; records with faults
are skipped only with on_error='skip', and never replaced.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import hashlib
import re
import typing

from hermesflow_jax.data import image_folder
from hermesflow_jax.data import input_faults
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import strict_json

NAME = re.compile(r'[A-Za-z0-9._-]{1,128}')


@dataclasses.dataclass(frozen=True)
class Source:
  """The files that records are read from.

  Attributes:
    annotations: file of records, see `strict_json.records`.
    images: folder that `img_path` is relative to.
    questions: TIFA file; '' if the annotations hold the questions.
    on_error: 'raise', or 'skip' to skip records with faults and report them.
  """

  annotations: str = settings.path_of_content('data')
  images: str = settings.path_of_content('image_files')
  questions: str = settings.path_of_content('data', default='')
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )

  def __post_init__(self):
    settings.check(self)


def read_records(
  source: Source,
  say: Callable[[str], None] = lambda line: None,
  check: Callable[[dict], None] = lambda record: None,
) -> list[dict]:
  """Reads and checks all records.

  Args:
    source: files.
    say: receives a line for each skipped record and question. Of two records
      with the same id, the second is skipped.
    check: raises ValueError for records that the caller cannot use.

  Returns:
    Records with id, path, caption and questions, sorted by id. `official_id`
    (the id as text or number) and `prompt` (the caption by default) are kept
    for official files of pairs.

  Raises:
    ValueError: one line with the first faults and their number. Faults are
      records that are not JSON objects, missing or empty fields, ids with
      characters outside [A-Za-z0-9._-], repeated ids, image paths that leave
      the folder or do not exist, records without questions, and answers that
      are not among the choices.
  """
  folder = image_folder.ImageFolder(source.images)
  questions_by_id, faults, records = None, [], {}
  if source.questions:
    questions_by_id, faults = _read_tifa(source.questions)
  for place, row in iterate_values(source.annotations):
    try:
      record = _record(row, folder, questions_by_id)
      if record['id'] in records:
        raise ValueError(f'duplicate id {record["id"]!r}')
      check(record)
      records[record['id']] = record
    except ValueError as error:
      faults.append(f'{place}: {error}')
  if not records and not faults:
    faults.append('there is no record')
  input_faults.raise_or_report(
    faults, len(records), source.on_error, say, source.annotations
  )
  return [records[name] for name in sorted(records)]


def iterate_values(path: str) -> Iterable[tuple[str, object]]:
  """Yields (place, value) for each record; see `strict_json.records`.

  Args:
    path: annotation file.

  Raises:
    ValueError: the file cannot be read.
  """
  try:
    text = storage.path(path).read_bytes().decode()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
  yield from strict_json.records(text)


def get_text(row: dict, key: str) -> str:
  """Returns a text field of a record.

  Args:
    row: record.
    key: field name.

  Raises:
    ValueError: the text is missing, empty, or holds a lone surrogate, which
      text tokenizers refuse.
  """
  value = row.get(key)
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f'{key} must be text, got {value!r}')
  _check_unicode(key, value)
  return value


def _check_unicode(key, value):
  try:
    value.encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f'{key} must be Unicode text, got {value!r} with half a character at '
      f'{error.start}'
    ) from error


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
  name = str(name) if type(name) is int else get_text(row, 'id')
  if not NAME.fullmatch(name):
    raise ValueError(f'id must be 1 to 128 of [A-Za-z0-9._-], got {name!r}')
  return name


def _record(row, folder, questions_by_id) -> dict:
  """Returns a checked record."""
  name = get_id(row)
  img_path, caption = get_text(row, 'img_path'), get_text(row, 'caption')
  path = folder.find(img_path)
  prompt = row.get('prompt')
  if not isinstance(prompt, str) or not prompt.strip():
    prompt = caption
  if questions_by_id is None:
    questions = row.get('questions')
  else:
    questions = questions_by_id.get(name)
  if not isinstance(questions, list) or not questions:
    raise ValueError(f'id {name!r} has no questions')
  return {
    'id': name,
    'path': path,
    'caption': caption,
    'questions': [_question(q) for q in questions],
    'official_id': row['id'],
    'prompt': prompt,
  }


def _question(row) -> dict:
  """Returns a checked TIFA record."""
  if not isinstance(row, dict):
    raise ValueError('a question must be a JSON object')
  choices = row.get('choices')
  texts = isinstance(choices, list) and all(isinstance(c, str) for c in choices)
  if not texts or len(set(choices)) < 2:
    raise ValueError(f'choices must be different texts, got {choices!r}')
  for choice in choices:
    _check_unicode('choices', choice)
  get_text(row, 'question')
  if row.get('answer') not in choices:
    raise ValueError(
      f'answer must be one of {choices}, got {row.get("answer")!r}'
    )
  # A space at the end of a choice changes its tokens.
  stripped = [choice.strip() for choice in choices]
  if len(set(stripped)) < len(set(choices)) or not all(stripped):
    raise ValueError(f'choices must be different texts, got {choices!r}')
  return row | {
    'choices': stripped,
    'answer': row['answer'].strip(),
    'element_type': str(row.get('element_type', 'other')),
  }


def _read_tifa(path: str) -> tuple[dict[str, list], list[str]]:
  """Returns (questions by id, faults of questions without an id)."""
  questions, faults = collections.defaultdict(list), []
  for place, row in iterate_values(path):
    try:
      questions[get_id(row)].append(row)
    except ValueError as error:
      faults.append(f'{path}, {place}: a question: {error}')
  return dict(questions), faults


def file_hashes(source: Source) -> dict[str, str]:
  """Returns the SHA-256 sum of each annotation file by path."""
  return {
    path: hashlib.sha256(storage.path(path).read_bytes()).hexdigest()
    for path in (source.annotations, source.questions)
    if path
  }
