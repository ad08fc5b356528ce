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
from collections.abc import Callable, Iterable, Sequence
import dataclasses
import hashlib
import io
import pathlib
import re
import zipfile

import numpy as np

from hermesflow_jax import events
from hermesflow_jax import faults as faults_lib
from hermesflow_jax import processes
from hermesflow_jax import storage
from hermesflow_jax import strict_json
from hermesflow_jax.data import images

NAME = re.compile(r'[A-Za-z0-9._-]{1,128}')
# Images that are in memory at once.
CHUNK = 256


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
  on_error: str = 'raise'

  def __post_init__(self):
    faults_lib.check_policy(self.on_error)


def read(
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
  folder = Folder(source.images)
  asked, faults, records = None, [], {}
  if source.questions:
    asked, faults = _tifa(source.questions)
  for place, row in values(source.annotations):
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
  faults_lib.settle(
    faults, len(records), source.on_error, say, source.annotations
  )
  return [records[name] for name in sorted(records)]


def values(path: str) -> Iterable[tuple[str, object]]:
  """Yields (place, value) of each record of a file; see `strict_json.records`.

  Raises:
    ValueError: the file cannot be read.
  """
  try:
    text = storage.path(path).read_bytes().decode()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
  yield from strict_json.records(text)


class Folder:
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
      self._listed = storage.below(self.root)

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
        path = storage.within(self.root, name.removeprefix(f'{self.root}/'))
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
      return storage.stamp(path)
    return self._listed[str(path.relative_to(self.root))]


def text_of(row: dict, key: str) -> str:
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


def id_of(row: object) -> str:
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
  name = str(name) if type(name) is int else text_of(row, 'id')
  if not NAME.fullmatch(name):
    raise ValueError(f'id {name!r} is not of [A-Za-z0-9._-], at most 128')
  return name


def _record(row, folder, asked):
  name = id_of(row)
  img_path, caption = text_of(row, 'img_path'), text_of(row, 'caption')
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
  text_of(row, 'question')
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
  for place, row in values(path):
    try:
      out[id_of(row)].append(row)
    except ValueError as error:
      faults.append(f'{path}, {place}: a question: {error}')
  return dict(out), faults


def sums(source: Source) -> dict[str, str]:
  """Returns the SHA-256 of each file of text, by its path."""
  return {
    path: hashlib.sha256(storage.path(path).read_bytes()).hexdigest()
    for path in (source.annotations, source.questions)
    if path
  }


def load(
  source: Source,
  size: int,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  say: Callable[[str], None] = lambda line: None,
  most: int | None = None,
  check: Callable[[dict], None] = lambda record: None,
) -> list[dict]:
  """Reads and encodes records; codes are kept in `cache` for a restart.

  Args:
    source: the files.
    size: of the square images, in pixels.
    unified: an `inference.Unified`, for its tokenizer.
    cache: a folder, a `storage.path`.
    identity: of the tokenizer, so that its codes are not taken for another's.
    say: hears what is left out.
    most: as many records are encoded, by id; None: all.
    check: see `read`.

  Returns:
    Records with id, caption, tag '', questions and codes int32[I], by id.

  Raises:
    ValueError: see `read` and `images.load`.
  """
  records = read(source, say, check)[:most]
  codes, faults = encode(
    records,
    size,
    unified,
    cache,
    identity,
    source.on_error,
    Folder(source.images),
  )
  faults_lib.settle(
    list(faults.values()), len(codes), source.on_error, say, source.annotations
  )
  records = [r for n, r in enumerate(records) if n not in faults]
  return [
    {
      'id': r['id'],
      'caption': r['caption'],
      'tag': '',
      'questions': r['questions'],
      'codes': c,
    }
    for r, c in zip(records, codes, strict=True)
  ]


def encode(
  records: Sequence[dict],
  size: int,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  on_error: str,
  folder: Folder,
) -> tuple[np.ndarray, dict[int, str]]:
  """Encodes images of files; codes are kept in `cache` for a restart.

  Args:
    records: N records with id and path.
    size, unified, cache, identity: see `load`.
    on_error: see `Source`.
    folder: of the images.

  Returns:
    (codes int32[M, I] of the images that can be read, in order; the faults of
    the N - M others by their number).

  Raises:
    ValueError: an image cannot be read and `on_error` is 'raise'.
  """
  path = cache / f'{_fingerprint(records, size, identity, folder.stamp)}.npz'
  codes, left_out = _cached(path)
  if not processes.all_say(codes is not None):
    codes, left_out = None, []
  # What could not be read then may be there now.
  faults = processes.agreed(
    lambda: _faults([records[n] for n in left_out], size)
  )
  if codes is None or len(faults) < len(left_out):
    codes, by_number = _encoded(records, size, unified, on_error)
    storage.make(cache)
    buffer = io.BytesIO()
    np.savez(buffer, codes=codes, left_out=np.array(list(by_number), np.int64))
    events.write_atomically(path, buffer.getvalue())
    return codes, by_number
  return codes, dict(zip(left_out, faults))


def _cached(path):
  """(codes, numbers of the records that are left out), or (None, [])."""
  try:
    with np.load(io.BytesIO(path.read_bytes())) as found:
      return found['codes'], found['left_out'].tolist()
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):
    return None, []


def _pixels(record: dict, size: int):
  """(the pixels of a record's image, '') or (None, what is wrong with it)."""
  try:
    return images.load(record['path'], size), ''
  except ValueError as error:
    return None, f'id {record["id"]!r}: {error}'


def _faults(records: Sequence[dict], size: int) -> list[str]:
  """What is wrong with the images of these; one for each that is."""
  return [fault for r in records if (fault := _pixels(r, size)[1])]


def _encoded(records: Sequence[dict], size, unified, on_error):
  """(codes of the images that can be read, faults of the others by number)."""
  parts, faults = [], {}
  for start in range(0, len(records), CHUNK):
    pixels = []
    for number, record in enumerate(records[start : start + CHUNK], start):
      image, fault = _pixels(record, size)
      if not fault:
        pixels.append(image)
      elif on_error == 'raise':
        raise ValueError(fault)
      else:
        faults[number] = fault
    if pixels:
      parts.append(unified.encode(np.stack(pixels)))
  return np.concatenate(parts) if parts else np.zeros((0, 0), int), faults


def _fingerprint(records, size, identity, stamp) -> str:
  """Changes with what the codes depend on: images, their order, tokenizer."""
  said = [identity, str(size), f'images {images.VERSION}']
  for record in records:
    said.append(f'{record["path"]} {stamp(record["path"])}')
  return hashlib.sha256('\n'.join(said).encode()).hexdigest()[:32]
