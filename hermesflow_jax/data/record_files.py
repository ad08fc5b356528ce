"""Reads image-caption records from annotation files.

A record is {"id", "img_path", "caption", "questions"}. Questions have TIFA form
(arXiv 2303.11897). They may stand in a separate TIFA file, joined by id. Both
files may be JSON lines, a JSON list, or records separated by commas, as the
scripts of HermesFlow write them (`initial_data.json`, `vqa_data.json`). Numeric
ids become text. LLaVA's instruction files have "image" in place of "img_path",
and the first reply in "conversations" as the caption. All faults are reported
before training; records with faults are skipped only with on_error='skip', and
never replaced.
"""

from collections.abc import Callable
import dataclasses
import functools
import hashlib
import typing

from hermesflow_jax.data import image_folder
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_values
from hermesflow_jax.data import tifa_questions
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text


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
  opened: int | None = 0,
) -> list[dict]:
  """Reads and checks all records.

  Args:
    source: files.
    say: receives a line for each skipped record and question. Of two records
      with the same id, the second is skipped.
    check: raises ValueError for records that the caller cannot use. It also
      receives records with other faults: fields with a fault are None or
      lacking, and a question with a fault is left out.
    opened: number of records, the first by id, whose local images are opened to
      report broken images together with other faults; None for all. With
      on_error='skip' none is opened: encoding reports broken images.

  Returns:
    Records with id, path, caption and questions, sorted by id. `official_id`
    (the id as text or number) and `prompt` (the caption by default) are kept
    for official files of pairs.

  Raises:
    ValueError: one line with the first faults and their number. Faults are
      records that are not JSON objects, missing or empty fields, ids with
      characters outside [A-Za-z0-9._-], repeated ids, image paths that leave
      the folder or do not exist, images that cannot be opened, records
      without questions, and answers that are not among the choices.
  """
  folder = image_folder.ImageFolder(source.images)
  questions_by_id, faults, records, images = None, [], {}, {}
  if source.questions:
    questions_by_id, faults = tifa_questions.read_questions(
      source.questions, say
    )
  for place, row in record_values.normalized_values(source.annotations, say):
    row_faults = []
    record = input_faults.attempt(
      row_faults, _record, row, folder, questions_by_id, row_faults
    )
    if record:
      name = record['id']
      images.setdefault(name, (f'{place}: id {name!r}', record['path']))
      if name in records:
        row_faults.append(f'duplicate id {name!r}')
      input_faults.attempt(row_faults, check, record)
      if not row_faults:
        records[name] = record
    if row_faults:
      faults.append(f'{place}: {"; ".join(row_faults)}')
  if source.on_error == 'raise':
    faults += image_reader.faults_of_all(
      [images[name] for name in sorted(images)[:opened]], bool(faults)
    )
  if not records and not faults:
    faults.append('there is no record')
  input_faults.raise_or_report(
    faults, len(records), source.on_error, say, source.annotations
  )
  return [records[name] for name in sorted(records)]


def _record(row, folder, questions_by_id, faults: list[str]) -> dict:
  """Returns a checked record; appends its faults to `faults`.

  A field with a fault is None, and a question with a fault is left out.

  Raises:
    ValueError: the record has no id.
  """
  name = record_values.get_id(row)
  row = _llava_fields(row)

  checked = functools.partial(input_faults.attempt, faults)
  path = checked(_image_path, row, folder)
  caption = checked(record_values.get_text, row, 'caption')
  prompt = row.get('prompt')
  if not isinstance(prompt, str) or not prompt.strip():
    prompt = caption
  else:
    checked(user_text.check, 'prompt', prompt)
  if questions_by_id is None:
    questions = row.get('questions')
  else:
    questions = questions_by_id.get(name)
  if not isinstance(questions, list) or not questions:
    faults.append(f'id {name!r} has no questions')
    questions = []
  questions = [
    checked(tifa_questions.check_question, question) for question in questions
  ]
  return {
    'id': name,
    'path': path,
    'caption': caption,
    'questions': [question for question in questions if question],
    'official_id': row['id'],
    'prompt': prompt,
  }


def _image_path(row, folder):
  return folder.find(record_values.get_text(row, 'img_path'))


def _llava_fields(row: dict) -> dict:
  """Returns a record of a LLaVA instruction file with our field names."""
  turns = row.get('conversations')
  if not isinstance(turns, list):
    return row
  replies = [
    turn.get('value')
    for turn in turns
    if isinstance(turn, dict) and turn.get('from') == 'gpt'
  ]
  return {
    'img_path': row.get('image'),
    'caption': next(iter(replies), None),
  } | row


def file_hashes(source: Source) -> dict[str, str]:
  """Returns the SHA-256 sum of each annotation file by path."""
  return {
    path: hashlib.sha256(storage.path(path).read_bytes()).hexdigest()
    for path in (source.annotations, source.questions)
    if path
  }
