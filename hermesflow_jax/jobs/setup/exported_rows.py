"""Reads the rows of exported questions, which stand in a run folder."""

import pathlib

from hermesflow_jax.data import input_faults
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import strict_json
from hermesflow_jax.runtime import text_files

# File of rows in a run folder.
FILE = 'exported_questions.jsonl'
# Fields of evaluated images that have a text for each question.
_BY_QUESTION = ('answers', 'judged', 'own')


def read(root: pathlib.PurePath) -> list[dict]:
  """Reads the rows that an export wrote, see `judged_images`.

  Args:
    root: run folder.

  Raises:
    ValueError: no export wrote rows, or rows are damaged. A single line with
      the first damaged rows and their number.
  """
  path = root / FILE
  export = (
    f'python main.py --config=configs/judge.py:export --config.source={root}'
  )
  if not path.exists():
    raise ValueError(
      f'source must be a run whose questions were exported, got {root}: run '
      f'{export} first'
    )
  rows, faults = [], []
  for number, line in enumerate(text_files.read(path).split('\n'), 1):
    if line.strip():
      row = input_faults.attempt(
        faults, strict_json.loads, line, f'line {number}'
      )
      if row is not None and (fault := _fault(row)):
        faults.append(f'line {number}: {fault}')
      rows.append(row)
  if not rows:
    faults.append('it has no row')
  try:
    input_faults.raise_if_any(faults)
  except ValueError as error:
    raise ValueError(f'{path} is damaged ({error}): run {export} again') from (
      error
    )
  return rows


def _fault(row: dict) -> str:
  """Returns which value of a row is missing or has another type, or ''."""
  for name in ('part', 'input', 'tag'):
    if not isinstance(row.get(name), str):
      return f'{name} must be a text'
  questions = row.get('questions')
  if not isinstance(questions, list) or not all(map(_is_question, questions)):
    return 'questions must have id, choices and answer'
  if not row['part'].endswith(('scenes', 'scenes_unseen')):
    return (
      ''
      if output_files.is_number(row.get('self_score'))
      else 'self_score must be a number'
    )
  if not output_files.is_number(row.get('similarity')):
    return 'similarity must be a number'
  for name in _BY_QUESTION:
    values = row.get(name, questions if name == 'own' else None)
    if not isinstance(values, list) or len(values) != len(questions):
      return f'{name} must have {len(questions)} answers'
  return ''


def _is_question(value) -> bool:
  return (
    isinstance(value, dict)
    and isinstance(value.get('id'), str)
    and isinstance(value.get('choices'), list)
    and all(isinstance(choice, str) for choice in value['choices'])
    and isinstance(value.get('answer'), str)
  )
