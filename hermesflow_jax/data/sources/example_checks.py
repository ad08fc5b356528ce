"""Checks records of any form, and returns them as training examples."""

import dataclasses

from hermesflow_jax.data import image_folder
from hermesflow_jax.data import record_values
from hermesflow_jax.data import tifa_questions
from hermesflow_jax.data.sources import llava
from hermesflow_jax.runtime import user_text

# Kind of the fault of a record that only lacks questions.
NO_QUESTIONS = 'no questions'
# What happens to records of text alone, as in LLaVA's files: a fault, left out
# and counted, or kept for rows of text.
TEXT_ONLY = ('refuse', 'skip', 'keep')


class Faults:
  """Faults of a record.

  Attributes:
    items: (kind, text) of each fault; a kind is e.g. 'caption' or 'image'.
    dropped: text of each question with a fault that is left out alone.
    repeated: text of each question that the record has before.
  """

  def __init__(self):
    self.items, self.dropped, self.repeated = [], [], []

  def add(self, kind: str, text: str) -> None:
    """Adds a fault."""
    self.items.append((kind, text))

  def attempt(self, kind: str, function, *arguments):
    """Returns the value of a function; None if it raises a ValueError.

    Args:
      kind: kind of its fault.
      function: function that checks and returns a value.
      *arguments: its arguments.
    """
    try:
      return function(*arguments)
    except ValueError as error:
      self.add(kind, str(error))
      return None

  @property
  def texts(self) -> list[str]:
    """Texts of the faults."""
    return [text for _, text in self.items]

  @property
  def only_questions(self) -> bool:
    """Whether the record only lacks questions."""
    return [kind for kind, _ in self.items] == [NO_QUESTIONS]


@dataclasses.dataclass(frozen=True)
class Checker:
  """Checks of a record.

  Attributes:
    folder: folder of the images.
    questions: questions by id from a file of their own; None if the records
      hold them.
    needs_questions: whether a record without questions is a fault.
    drops_questions: whether questions with faults are left out, and their
      record stays.
    text_only: of TEXT_ONLY.
  """

  folder: image_folder.ImageFolder
  questions: tifa_questions.QuestionIndex | None = None
  needs_questions: bool = True
  drops_questions: bool = False
  text_only: str = 'refuse'

  def check(self, record: object, faults: Faults) -> dict | None:
    """Returns an example, and adds its faults to `faults`.

    Args:
      record: a record in our field names, see `rows.Rows`.
      faults: receives the faults.

    Returns:
      `id`, `path` of the image (a `storage.path` or `StoredImage`; None for
      text alone), `caption`, `prompt` (the caption by default), `questions`,
      and `official_id` (the id as text or number); for a conversation `turns`,
      (question, reply) texts. A field with a fault is None, and a question
      with a fault is left out. None for a record without an id.
    """
    name = faults.attempt('record', record_values.get_id, record)
    if name is None:
      return None
    if llava.is_record(record):
      record = llava.with_our_fields(record)
    example = {'id': name, 'path': None, 'caption': None}
    if 'image_file' in record:
      example['path'] = record['image_file']
    elif not (self.text_only == 'keep' and record.get('text_only')):
      example['path'] = faults.attempt('image', self._path, record)
    example['caption'] = faults.attempt(
      'caption', record_values.get_text, record, 'caption'
    )
    prompt = record.get('prompt')
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
      prompt = example['caption']
    elif not isinstance(prompt, str):
      faults.add(
        'prompt', f'prompt must be text, got {user_text.quote(prompt)}'
      )
    else:
      faults.attempt('prompt', user_text.check, 'prompt', prompt)
    example['questions'] = self._questions(record, name, faults)
    if llava.is_record(record) and not self.needs_questions:
      example['turns'] = faults.attempt(
        'conversations', llava.turns, record['conversations']
      )
    return example | {'official_id': record['id'], 'prompt': prompt}

  def read(self, record: object) -> dict:
    """Returns an example without faults; see `check`.

    Args:
      record: a record in our field names.

    Raises:
      ValueError: the record has faults.
    """
    faults = Faults()
    example = self.check(record, faults)
    if faults.items:
      raise ValueError('; '.join(faults.texts))
    return example

  def skips(self, record: object) -> bool:
    """Returns whether a record is text alone, which is left out.

    Args:
      record: a record in our field names.
    """
    return (
      self.text_only == 'skip'
      and isinstance(record, dict)
      and bool(record.get('text_only'))
    )

  def _path(self, record):
    return self.folder.find(record_values.get_text(record, 'img_path'))

  def _questions(self, record, name, faults) -> list[dict]:
    """Returns the checked questions of a record."""
    if self.questions is None:
      questions = record.get('questions')
    else:
      questions = self.questions.get(name)
    if questions is not None and not isinstance(questions, list):
      faults.add(
        'questions',
        f'questions must be a list, got {user_text.quote(questions)}',
      )
      return []
    if not questions:
      if self.needs_questions:
        faults.add(NO_QUESTIONS, f'id {name!r} has no questions')
      return []
    problems = Faults()
    checked = [
      problems.attempt('questions', tifa_questions.check_question, question)
      for question in questions
    ]
    checked = [question for question in checked if question]
    previous = set()
    for question in checked:
      key = (question['question'], *question['choices'], question['answer'])
      if key in previous:
        text = user_text.quote(question['question'])
        faults.repeated.append(f'id {name!r}: {text}')
      previous.add(key)
    if self.drops_questions and checked:
      faults.dropped += problems.texts
    else:
      faults.items += problems.items
    return checked
