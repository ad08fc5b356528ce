"""JourneyDB's annotations (arXiv 2307.00716): train_anno*.jsonl and the like.

A record has `img_path` (./000/<name>.jpg), `prompt`, `Task2` with the caption,
and `Task3` with questions, their options by letter, and the letter of the
answer. GPT-3.5 wrote them, so some lack options or an answer.
"""

import pathlib
import re

from hermesflow_jax.data.sources import record_names
from hermesflow_jax.data.sources import rows

# Keys of Task3, and the element type of their questions.
_TASKS = {
  'Content Relevant Questions and Answers': 'content',
  'Style Relevant Questions and Answers': 'style',
}
# An answer like 'B', 'B.' or 'B: a castle'.
_LETTER = re.compile(r'\(?([A-Za-z])(?:[).:]|\s*$)')


def is_record(record: object) -> bool:
  """Returns whether a record has JourneyDB's tasks."""
  return isinstance(record, dict) and not {'Task2', 'Task3'}.isdisjoint(record)


class JourneyRows(rows.Rows):
  """JourneyDB's records in our field names.

  Args:
    inner: the records as the file has them.
  """

  form = 'journeydb'

  def __init__(self, inner: rows.Rows):
    self._inner = inner

  def __len__(self):
    return len(self._inner)

  def place(self, number):
    """See `Rows`."""
    return self._inner.place(number)

  def read(self, number):
    """See `Rows`."""
    record = self._inner.read(number)
    if not isinstance(record, dict):
      return record
    path = record.get('img_path')
    name = path if isinstance(path, str) else ''
    caption = record.get('Task2')
    if isinstance(caption, dict):
      caption = caption.get('Caption')
    return record | {
      'id': record_names.id_of(pathlib.PurePosixPath(name).stem or '?'),
      'caption': caption,
      'questions': questions(record.get('Task3')),
    }


def questions(task: object) -> list[dict]:
  """Returns the questions of Task3 in TIFA's form; not checked.

  Args:
    task: lists of {"Question", "Options": {letter: text}, "Answer": letter} by
      the keys of the task.

  Returns:
    Questions with `question`, `choices`, `answer`, and the `element_type`
    'content' or 'style'.
  """
  if not isinstance(task, dict):
    return []
  return [
    _question(item, kind)
    for key, kind in _TASKS.items()
    for item in (task[key] if isinstance(task.get(key), list) else [])
  ]


def _question(item, kind) -> dict:
  """Returns a question in TIFA's form."""
  if not isinstance(item, dict):
    return {}
  options, answer = item.get('Options'), item.get('Answer')
  if isinstance(options, list):
    options = {chr(65 + n): text for n, text in enumerate(options[:26])}
  if not isinstance(options, dict):
    options = {}
  return {
    'question': item.get('Question'),
    'choices': list(options.values()) or None,
    'answer': _answer(answer, options),
    'element_type': kind,
  }


def _answer(answer, options):
  """Returns the text of the option that an answer names."""
  if not isinstance(answer, str) or answer in options.values():
    return answer
  if answer in options:
    return options[answer]
  match = _LETTER.match(answer.strip())
  return options.get(match[1].upper(), answer) if match else answer
