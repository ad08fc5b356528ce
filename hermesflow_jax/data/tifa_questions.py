"""Reads questions in TIFA's form (arXiv 2303.11897)."""

import collections
from collections.abc import Callable

from hermesflow_jax.data import record_values
from hermesflow_jax.runtime import user_text


def check_question(row: object) -> dict:
  """Returns a checked question.

  Args:
    row: JSON value.

  Returns:
    The record, with choices and answer without surrounding spaces, and an
    element_type.

  Raises:
    ValueError: a field is missing or has a fault; or the choices are not at
      least two different texts, or lack the answer.
  """
  if not isinstance(row, dict):
    raise ValueError('a question must be a JSON object')
  choices = row.get('choices')
  texts = isinstance(choices, list) and all(isinstance(c, str) for c in choices)
  if not texts or len(set(choices)) < 2:
    raise ValueError(
      f'choices must be different texts, got {user_text.quote(choices)}'
    )
  for choice in choices:
    user_text.check('choices', choice)
  record_values.get_text(row, 'question')
  if row.get('answer') not in choices:
    raise ValueError(
      f'answer must be one of {user_text.quote(choices)}, got '
      f'{user_text.quote(row.get("answer"))}'
    )
  # A space at the end of a choice changes its tokens.
  stripped = [choice.strip() for choice in choices]
  if len(set(stripped)) < len(set(choices)) or not all(stripped):
    raise ValueError(
      f'choices must be different texts, got {user_text.quote(choices)}'
    )
  return row | {
    'choices': stripped,
    'answer': row['answer'].strip(),
    'element_type': str(row.get('element_type', 'other')),
  }


def read_questions(
  path: str, say: Callable[[str], None]
) -> tuple[dict[str, list], list[str]]:
  """Reads a file of questions.

  Args:
    path: file, see `strict_json.records`.
    say: receives a line if odd characters were replaced.

  Returns:
    (unchecked questions by id, faults of questions without an id).

  Raises:
    ValueError: the file cannot be read.
  """
  questions, faults = collections.defaultdict(list), []
  for place, row in record_values.normalized_values(path, say):
    try:
      questions[record_values.get_id(row)].append(row)
    except ValueError as error:
      faults.append(f'{path}, {place}: a question: {error}')
  return dict(questions), faults
