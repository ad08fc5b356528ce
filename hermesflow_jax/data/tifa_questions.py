"""Reads questions in TIFA's form (arXiv 2303.11897)."""

from collections.abc import Callable
from collections.abc import Iterable

from hermesflow_jax.data import record_values
from hermesflow_jax.data.sources import json_rows
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import storage
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


class QuestionIndex:
  """Questions of a file by the id of their record; the file holds them.

  Args:
    path: file, see `json_rows.index_file`.
    say: receives a line if odd characters were replaced.

  Attributes:
    faults: faults of questions without an id.

  Raises:
    ValueError: the file cannot be read.
  """

  def __init__(self, path: str, say: Callable[[str], None]):
    self._rows = json_rows.index_file(storage.path(path))
    # Last question of each record, and the one before each; -1 for none.
    self._last = disk_names.Numbers()
    self._before = disk_arrays.Integers()
    self.faults = []
    odd = record_values.OddCharacters()
    for number in range(len(self._rows)):
      place = self._rows.place(number)
      row = odd.normalize(place, self._rows.read(number))
      before = -1
      try:
        name = record_values.get_id(row)
        before = self._last.get(name, -1)
        self._last[name] = number
      except ValueError as error:
        self.faults.append(f'{path}, {place}: a question: {error}')
      self._before.append(before)
    odd.report(path, say)

  def ids(self) -> Iterable[str]:
    """Returns the ids of records that have questions."""
    return self._last.keys()

  def get(self, name: str) -> list | None:
    """Returns the unchecked questions of a record; None if it has none.

    Args:
      name: id of the record.
    """
    if name not in self._last:
      return None
    values, number = [], self._last[name]
    while number >= 0:
      values.append(record_values.normalize(self._rows.read(number))[0])
      number = self._before[number]
    return values[::-1]
