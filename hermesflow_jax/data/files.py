"""Image-caption records from files: JSON lines beside a folder of images.

A line is {"id", "img_path", "caption", "questions"}, the questions in TIFA form
(arXiv 2303.11897); they may come in a TIFA file of their own, joined by id.
Every fault of a file is found before anything is trained on it; records with
faults are left out only where that is asked for, and never replaced.
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
    annotations: a file of JSON lines.
    images: the folder that `img_path` is relative to.
    questions: a TIFA file (a JSON list), '' if the lines have them.
    on_error: 'raise', or 'skip' to leave records with faults out and say so.
  """

  annotations: str
  images: str
  questions: str = ''
  on_error: str = 'raise'

  def __post_init__(self):
    faults_lib.check_policy(self.on_error)


def read(
    source: Source, say: Callable[[str], None] = lambda line: None,
    check: Callable[[dict], None] = lambda record: None,
) -> list[dict]:
  """Returns records with id, path, caption and questions, by id.

  Args:
    source: the files.
    say: hears which lines are left out; of an id that comes twice, the second.
    check: raises ValueError for what else makes a record useless.

  Raises:
    ValueError: one line with the first faults and their number. Faults are a
      line that is no JSON object, a missing or empty field, an id that is not
      of [A-Za-z0-9._-] or comes twice, a path out of the folder or to no
      file, no question, an answer that is not among the choices.
  """
  folder = _Images(source.images)
  asked = _tifa(source.questions) if source.questions else None
  faults, records = [], {}
  for number, line in _lines(source.annotations):
    try:
      record = _record(strict_json.parse(line), folder, asked)
      if record['id'] in records:
        raise ValueError(f'id {record["id"]!r} comes twice')
      check(record)
      records[record['id']] = record
    except ValueError as error:
      faults.append(f'line {number}: {error}')
  if not records and not faults:
    faults.append('there is no record')
  faults_lib.settle(
      faults, len(records), source.on_error, say, source.annotations
  )
  return [records[name] for name in sorted(records)]


def _lines(path: str) -> Iterable[tuple[int, str]]:
  """The lines that are not blank, with their numbers from 1."""
  try:
    with storage.text(storage.path(path)) as file:
      yield from ((n, row) for n, row in enumerate(file, 1) if row.strip())
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error


class _Images:
  """The folder of the images; one of a bucket is listed once.

  Args:
    folder: its path.
  """

  def __init__(self, folder: str):
    self.root, self._listed = storage.path(folder), None
    if storage.is_local(self.root):
      self.root = self.root.resolve()
    else:
      self._listed = storage.below(self.root)

  def find(self, name: str):
    """Returns the path of an image; ValueError if it is not in the folder."""
    try:
      if self._listed is None:
        path = (self.root / name).resolve()
        path = path if path.is_relative_to(self.root) else None
        there = path and path.is_file()
      else:
        path = storage.within(self.root, name)
        there = path and str(path.relative_to(self.root)) in self._listed
    except OSError as error:  # E.g. a name that is too long.
      raise ValueError(f'img_path: {error.strerror}') from error
    if path is None:
      raise ValueError(f'img_path {name!r} leaves {self.root}')
    if not there:
      raise ValueError(f'there is no image {path}')
    return path

  def stamp(self, path) -> str:
    """Returns what changes with an image, e.g. its size and time."""
    if self._listed is None:
      return storage.stamp(path)
    return self._listed[str(path.relative_to(self.root))]


def _record(row, folder, asked):
  if not isinstance(row, dict):
    raise ValueError('it is no JSON object')
  for key in ('id', 'img_path', 'caption'):
    if not isinstance(row.get(key), str) or not row[key].strip():
      raise ValueError(f'{key} is {row.get(key)!r}, wanted text')
  name = row['id']
  if not NAME.fullmatch(name):
    raise ValueError(f'id {name!r} is not of [A-Za-z0-9._-], at most 128')
  path = folder.find(row['img_path'])
  questions = row.get('questions') if asked is None else asked.get(name)
  if not isinstance(questions, list) or not questions:
    raise ValueError(f'id {name!r} has no questions')
  return {
      'id': name, 'path': path, 'caption': row['caption'],
      'questions': [_question(q) for q in questions],
  }


def _question(row):
  """A TIFA record, checked."""
  if not isinstance(row, dict):
    raise ValueError('a question is no JSON object')
  choices = row.get('choices')
  fine = isinstance(choices, list) and all(isinstance(c, str) for c in choices)
  if not fine or len(set(choices)) < 2:
    raise ValueError(f'choices is {choices!r}, wanted different texts')
  if not isinstance(row.get('question'), str) or not row['question']:
    raise ValueError(f'question is {row.get("question")!r}, wanted text')
  if row.get('answer') not in choices:
    raise ValueError(f'answer {row.get("answer")!r} is none of {choices}')
  return row | {'element_type': str(row.get('element_type', 'other'))}


def _tifa(path: str) -> dict[str, list]:
  """{id: questions} of a TIFA file."""
  try:
    rows = strict_json.parse(storage.path(path).read_bytes())
    if not isinstance(rows, list):
      raise ValueError('it is no list')
    out = collections.defaultdict(list)
    for row in rows:
      if not isinstance(row, dict) or not isinstance(row.get('id'), str):
        raise ValueError('a question has no id')
      out[row['id']].append(row)
  except (OSError, ValueError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
  return dict(out)


def sums(source: Source) -> dict[str, str]:
  """Returns the SHA-256 of each file of text, by its path."""
  return {
      path: hashlib.sha256(storage.path(path).read_bytes()).hexdigest()
      for path in (source.annotations, source.questions) if path
  }


def load(
    source: Source, size: int, unified, cache: pathlib.PurePath, identity: str,
    say: Callable[[str], None] = lambda line: None, most: int | None = None,
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
  stamp = _Images(source.images).stamp
  path = cache / f'{_fingerprint(records, size, identity, stamp)}.npz'
  codes, left_out = _cached(path)
  if not processes.all_say(codes is not None):
    codes, left_out = None, []
  # What could not be read then may be there now.
  faults = processes.agreed(
      lambda: _faults([records[n] for n in left_out], size)
  )
  if codes is None or len(faults) < len(left_out):
    codes, faults = _encoded(records, size, unified, source.on_error)
    left_out = list(faults)
    storage.make(cache)
    buffer = io.BytesIO()
    np.savez(buffer, codes=codes, left_out=np.array(left_out, np.int64))
    events.write_atomically(path, buffer.getvalue())
    faults = list(faults.values())
  faults_lib.settle(
      faults, len(codes), source.on_error, say, source.annotations
  )
  records = [r for n, r in enumerate(records) if n not in set(left_out)]
  return [
      {'id': r['id'], 'caption': r['caption'], 'tag': '',
       'questions': r['questions'], 'codes': c}
      for r, c in zip(records, codes, strict=True)
  ]


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
    for number, record in enumerate(records[start:start + CHUNK], start):
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
