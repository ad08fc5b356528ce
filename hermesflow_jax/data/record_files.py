"""Image-caption records from files: annotations beside a folder of images.

A record is {"id", "img_path", "caption", "questions"}, the questions in TIFA
form (arXiv 2303.11897); they may come in a TIFA file of their own, joined by
id. Both files may be JSON lines, a JSON list, or records with commas between
them, as HermesFlow's scripts write (`initial_data.json`, `vqa_data.json`); ids
may be numbers, which are taken as text. Every fault of a file is found before
anything is trained on it; records with faults are left out only where that is
asked for, and never replaced.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
import dataclasses
import hashlib
import pathlib
import re
import typing

from hermesflow_jax.data import input_faults
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import strict_json

NAME = re.compile(r'[A-Za-z0-9._-]{1,128}')


@dataclasses.dataclass(frozen=True)
class Source:
  """Where records come from.

  Attributes:
    annotations: a file of records, see `strict_json.records`.
    images: the folder that `img_path` is relative to.
    questions: a TIFA file, '' if the annotations have the questions.
    on_error: 'raise', or 'skip' to leave records with faults out and say so.
  """

  annotations: str
  images: str
  questions: str = ''
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
  """Returns records with id, path, caption and questions, by id.

  They also keep what official files of pairs repeat: `official_id`, a text or
  a number, and `prompt`, the caption where there is none.

  Args:
    source: the files.
    say: hears what is left out: records, of an id that comes twice the second,
      and questions without an id.
    check: raises ValueError for what else makes a record useless.

  Raises:
    ValueError: one line with the first faults and their number. Faults are a
      record that is no JSON object, a missing or empty field, an id that is
      not of [A-Za-z0-9._-] or comes twice, a path out of the folder or to no
      file, no question, an answer that is not among the choices.
  """
  folder = ImageFolder(source.images)
  asked, faults, records = None, [], {}
  if source.questions:
    asked, faults = _tifa(source.questions)
  for place, row in iterate_values(source.annotations):
    try:
      record = _record(row, folder, asked)
      if record['id'] in records:
        raise ValueError(f'id {record["id"]!r} comes twice')
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
  """Yields (place, value) of each record of a file; see `strict_json.records`.

  Raises:
    ValueError: the file cannot be read.
  """
  try:
    text = storage.path(path).read_bytes().decode()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
  yield from strict_json.records(text)


class ImageFolder:
  """The folder of the images; one of a bucket is listed once.

  Args:
    folder: its path.
    also: another folder of this machine, in which absolute names may lie, too;
      '' for none.
  """

  def __init__(self, folder: str, also: str = ''):
    self.root, self._listed = storage.path(folder), None
    self._also = ()
    if storage.is_local(self.root):
      self.root = self.root.resolve()
      if also:
        self._also = (pathlib.Path(also).resolve(),)
    else:
      self._listed = storage.list_files(self.root)

  def find(self, name: str, key: str = 'img_path'):
    """Returns the path of an image.

    Args:
      name: relative to the folder, or below it.
      key: how messages call it.

    Raises:
      ValueError: it is not in the folder.
    """
    try:
      if self._listed is None:
        path = (self.root / name).resolve()
        inside = any(
          path.is_relative_to(root) for root in (self.root, *self._also)
        )
        path = path if inside else None
        there = path and path.is_file()
      else:
        path = storage.path_inside(
          self.root, name.removeprefix(f'{self.root}/')
        )
        there = path and str(path.relative_to(self.root)) in self._listed
    except OSError as error:  # E.g. a name that is too long.
      raise ValueError(f'{key}: {error.strerror}') from error
    if path is None:
      raise ValueError(f'{key} {name!r} leaves {self.root}')
    if not there:
      raise ValueError(f'there is no image {path}')
    return path

  def stamp(self, path) -> str:
    """Returns what changes with an image, e.g. its size and time."""
    if self._listed is None:
      return storage.version_stamp(path)
    return self._listed[str(path.relative_to(self.root))]


def get_text(row: dict, key: str) -> str:
  """Returns a text of a record.

  Raises:
    ValueError: it is missing, empty, or holds a lone surrogate, which no text
      tokenizer takes.
  """
  value = row.get(key)
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f'{key} is {value!r}, wanted text')
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
  """Returns the id of a record; a whole number is taken as text.

  Raises:
    ValueError: the record is no JSON object, or its id cannot name a file. A
      ValueError in place of a record is raised as it is.
  """
  if isinstance(row, ValueError):
    raise row
  if not isinstance(row, dict):
    raise ValueError('it is no JSON object')
  name = row.get('id')
  # True is a number, too.
  name = str(name) if type(name) is int else get_text(row, 'id')
  if not NAME.fullmatch(name):
    raise ValueError(f'id {name!r} is not of [A-Za-z0-9._-], at most 128')
  return name


def _record(row, folder, asked):
  name = get_id(row)
  img_path, caption = get_text(row, 'img_path'), get_text(row, 'caption')
  path = folder.find(img_path)
  prompt = row.get('prompt')
  if not isinstance(prompt, str) or not prompt.strip():
    prompt = caption
  questions = row.get('questions') if asked is None else asked.get(name)
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


def _question(row):
  """A TIFA record, checked."""
  if not isinstance(row, dict):
    raise ValueError('a question is no JSON object')
  choices = row.get('choices')
  fine = isinstance(choices, list) and all(isinstance(c, str) for c in choices)
  if not fine or len(set(choices)) < 2:
    raise ValueError(f'choices is {choices!r}, wanted different texts')
  for choice in choices:
    _check_unicode('choices', choice)
  get_text(row, 'question')
  if row.get('answer') not in choices:
    raise ValueError(f'answer {row.get("answer")!r} is none of {choices}')
  # A space at the end of a choice makes other tokens of it.
  plain = [choice.strip() for choice in choices]
  if len(set(plain)) < len(set(choices)) or not all(plain):
    raise ValueError(f'choices is {choices!r}, wanted different texts')
  return row | {
    'choices': plain,
    'answer': row['answer'].strip(),
    'element_type': str(row.get('element_type', 'other')),
  }


def _tifa(path: str) -> tuple[dict[str, list], list[str]]:
  """({id: questions} of a TIFA file, faults of questions without an id)."""
  out, faults = collections.defaultdict(list), []
  for place, row in iterate_values(path):
    try:
      out[get_id(row)].append(row)
    except ValueError as error:
      faults.append(f'{path}, {place}: a question: {error}')
  return dict(out), faults


def file_hashes(source: Source) -> dict[str, str]:
  """Returns the SHA-256 of each file of text, by its path."""
  return {
    path: hashlib.sha256(storage.path(path).read_bytes()).hexdigest()
    for path in (source.annotations, source.questions)
    if path
  }
