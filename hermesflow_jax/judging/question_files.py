"""Images and questions for people and other programs, and their answers.

A folder of questions has `questions.jsonl`, an object per question with `id`,
`image` (a path in the folder), `question` and `choices`, and PNG files in
`images/`. An answer is an object with `id` and `answer`. An id is a hash of the
image and the question, so it is the same in every run and every folder.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import json
import pathlib

import numpy as np

from hermesflow_jax.data import image_writer
from hermesflow_jax.data import record_values
from hermesflow_jax.judging import endpoint_judge
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text

NAME = 'questions.jsonl'
_IMAGES = 'images'
# Characters of an id, and of an image's name.
_LENGTH = 24
# Faults that a message names.
_SHOWN = 5


def question_id(image: str, question: Mapping) -> str:
  """Returns the id of a question about an image.

  Args:
    image: from `endpoint_judge.image_hash`.
    question: TIFA record.
  """
  text = json.dumps([image, question['question'], list(question['choices'])])
  return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def rows(
  images: np.ndarray, questions: Sequence[Sequence[dict]]
) -> list[list[dict]]:
  """Returns the rows of `questions.jsonl`, without the right answers.

  Args:
    images: uint8[N, H, W, 3].
    questions: N lists of TIFA records.
  """
  out = []
  for image, records in zip(images, questions, strict=True):
    name = endpoint_judge.image_hash(image)
    out.append(
      [
        {
          'id': question_id(name, record),
          'image': f'{_IMAGES}/{name[:_LENGTH]}.png',
          'question': record['question'],
          'choices': list(record['choices']),
        }
        for record in records
      ]
    )
  return out


def write_images(
  folder: pathlib.PurePath, images: np.ndarray, rows: Sequence[Sequence[dict]]
) -> None:
  """Writes missing PNG files; only the first process writes.

  Args:
    folder: folder of questions.
    images: uint8[N, H, W, 3].
    rows: from `rows`.
  """
  for image, records in zip(images, rows, strict=True):
    if not records or not processes.is_first():
      continue
    path = folder / records[0]['image']
    if not image_writer.is_complete(path):
      # Without the caption, which would help the judge.
      image_writer.save_png(path, image, {})


def write_questions(
  folder: pathlib.PurePath, records: Sequence[dict]
) -> pathlib.PurePath:
  """Writes `questions.jsonl`, each question once; returns its path.

  Args:
    folder: folder of questions.
    records: rows, see the module.
  """
  distinct = {record['id']: record for record in records}
  text = ''.join(
    json.dumps(record, ensure_ascii=False) + '\n'
    for record in distinct.values()
  )
  output_files.write_atomically(folder / NAME, text)
  return folder / NAME


def read_answers(source: str, setting: str) -> dict[str, str]:
  """Reads answers by question id; all processes call it.

  Args:
    source: a file of JSON lines or a JSON list, or a folder of such files
      (`*.jsonl`, without `questions.jsonl`).
    setting: name of the setting, for errors.

  Raises:
    ValueError: a file is missing or has faults, which are named.
  """
  answers, faults = read_answers_and_faults(source, setting)
  if faults:
    raise ValueError(
      f'{setting} must hold objects with id and answer, got '
      f'{user_text.counted(len(faults), "fault")} in {source}: '
      f'{first_faults(faults)}'
    )
  return answers


def read_answers_and_faults(
  source: str, setting: str
) -> tuple[dict[str, str], list[str]]:
  """Reads answers by question id, and the faults of the files.

  All processes call it. A question with two different answers has none.

  Args:
    source: see `read_answers`.
    setting: name of the setting, for errors.

  Raises:
    ValueError: a file is missing.
  """
  return processes.broadcast_from_first(lambda: _read(source, setting))


def first_faults(faults: Sequence[str]) -> str:
  """Returns the first faults as a text, and the number of the others."""
  more = len(faults) - _SHOWN
  return '; '.join(faults[:_SHOWN]) + (f'; and {more} more' * (more > 0))


def _read(source, setting) -> tuple[dict[str, str], list[str]]:
  path = storage.path(source)
  files = [path]
  if not path.exists():
    raise ValueError(
      f'{setting} must be a file of answers or a folder with such files, got '
      f'{source}, which does not exist'
    )
  if path.is_dir():
    names = sorted(n for n in storage.list_names(path) if n.endswith('.jsonl'))
    files = [path / name for name in names if name != NAME]
    if not files:
      raise ValueError(
        f'{setting} must hold answers in *.jsonl, got {source}, which has none'
      )
  answers, ambiguous, faults = {}, set(), []
  for file in files:
    odd = record_values.normalized_values(str(file), lambda line: None)
    for place, row in odd:
      try:
        name, answer = _answer(row)
        if answers.setdefault(name, answer) != answer:
          ambiguous.add(name)
          raise ValueError(
            f'id {name} has two answers, {user_text.quote(answers[name])} and '
            f'{user_text.quote(answer)}'
          )
      except ValueError as error:
        faults.append(f'{file.name}, {place}: {error}')
  for name in ambiguous:
    del answers[name]
  return answers, faults


def _answer(row) -> tuple[str, str]:
  if isinstance(row, ValueError):
    raise row
  if not isinstance(row, dict):
    raise ValueError('an answer must be a JSON object')
  for name in ('id', 'answer'):
    if not isinstance(row.get(name), str):
      raise ValueError(
        f'{name} must be a text, got {user_text.quote(row.get(name))}'
      )
    user_text.check(name, row[name])
  return row['id'], row['answer'].strip()
