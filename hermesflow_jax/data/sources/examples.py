"""Checked examples of a data set, read at random for Grain."""

from collections.abc import Callable
from collections.abc import Sequence
import hashlib
import json

from hermesflow_jax.data import image_folder
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_values
from hermesflow_jax.data.sources import example_checks
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects


class ValidRecords(Sequence):
  """Records without faults, which stay in their file.

  A record is read from its file whenever it is taken, so a set may be larger
  than memory. `pipeline.batches` reads it with threads.

  Args:
    data: all records.
    checker: checks that return an example.
    numbers: positions of the valid records.

  Attributes:
    folder: folder of the images.
  """

  def __init__(
    self,
    data: rows.Rows,
    checker: example_checks.Checker,
    numbers: Sequence[int],
  ):
    self._data, self._checker, self._numbers = data, checker, numbers
    self.folder = checker.folder

  def __len__(self):
    return len(self._numbers)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self[n] for n in range(*index.indices(len(self)))]
    value, _ = record_values.normalize(self._data.read(self._numbers[index]))
    return self._checker.read(value)

  def place(self, index: int) -> str:
    """Returns where a record stands, for messages, e.g. 'line 3'."""
    return self._data.place(self._numbers[index])


class Examples(ValidRecords):
  """Valid records with ids of their own.

  Args:
    data: all records.
    checker: checks that return an example.
    numbers: positions of the examples among the records.
    ids: their ids.
  """

  def __init__(
    self,
    data: rows.Rows,
    checker: example_checks.Checker,
    numbers: Sequence[int],
    ids: Sequence[str],
  ):
    super().__init__(data, checker, numbers)
    self._ids = ids

  def __getitem__(self, index):
    example = super().__getitem__(index)
    if isinstance(index, slice):
      return example
    return example | {'id': self._ids[index]}


def check_all(
  data: rows.Rows,
  checker: example_checks.Checker,
  origin: str,
  on_error: str,
  say: Callable[[str], None],
  check: Callable[[dict], None] = lambda example: None,
  opened: int | None = 0,
  faults: Sequence[str] = (),
) -> Examples:
  """Checks all records, and returns those without faults, sorted by id.

  Args:
    data: records.
    checker: checks of a record.
    origin: name of the data set, which begins messages.
    on_error: 'raise', or 'skip' to leave out records with faults.
    say: receives a line for each record that is left out.
    check: see `record_files.read_records`.
    opened: see `record_files.read_records`.
    faults: faults that were found before.

  Raises:
    ValueError: one line with the first faults and their number.
  """
  others, odd = '; '.join(faults[:10]), record_values.OddCharacters()
  faults = list(faults)
  # First record of each id, also of records with faults.
  firsts, ids, repeats = (disk_names.Numbers() for _ in range(3))
  text_only = without_questions = 0
  dropped, first_dropped = 0, ''
  repeated = []
  for number in range(len(data)):
    place, problems = data.place(number), example_checks.Faults()
    value = odd.normalize(place, data.read(number))
    if checker.skips(value):
      text_only += 1
      continue
    example = checker.check(value, problems)
    without_questions += problems.only_questions
    dropped += len(problems.dropped)
    if problems.dropped and not first_dropped:
      first_dropped = f'{place}: {problems.dropped[0]}'
    repeated += [f'{place}: {text}' for text in problems.repeated]
    texts = problems.texts
    if example:
      name = example['id']
      if name in ids and data.has_repeated_ids and not checker.needs_questions:
        repeats[name] = repeats.get(name, 1) + 1
        name = f'{name}.{repeats[name]}'
      firsts.setdefault(name, number)
      if name in ids:
        texts.append(f'duplicate id {name!r}')
      input_faults.attempt(texts, check, example)
      if not texts:
        ids[name] = number
    if texts:
      faults.append(f'{place}: {"; ".join(texts)}')
  odd.report(origin, say)
  if dropped:
    say(
      f'{origin}: questions with faults are left out: {dropped}, e.g. '
      f'{first_dropped}'
    )
  report_repeated(repeated, origin, say)
  if data.orphan_files:
    say(
      f'{origin}: text files without an image of their name are left out: '
      f'{data.orphans}, e.g. {data.orphan_files[0]}'
    )
  rows.report_unread(data, origin, say)
  _report_left_out(data, text_only, without_questions, origin, say, others)
  if on_error == 'raise':
    opened_names = disk_names.in_order(firsts)[:opened]
    images = disk_objects.Computed(
      len(opened_names),
      lambda n: _image(data, checker, firsts[opened_names[n]], opened_names[n]),
    )
    faults += image_reader.faults_of_all(images, bool(faults))
  if not ids and not faults:
    faults.append('there is no record')
  input_faults.raise_or_report(faults, len(ids), on_error, say, origin)
  names = disk_names.in_order(ids)
  numbers = disk_arrays.Integers(ids[name] for name in names)
  return Examples(data, checker, numbers, names)


def report_repeated(
  questions: Sequence[str], origin: str, say: Callable[[str], None]
) -> None:
  """Reports questions that a record has twice, which count twice in scores.

  Args:
    questions: a text for each repetition.
    origin: name of the data set.
    say: receives the line.
  """
  if questions:
    say(
      f'{origin}: questions that a record has before count again: '
      f'{len(questions)}, e.g. {questions[0]}; remove them'
    )


def _image(data, checker, number, name):
  """Returns (beginning of a message, path of the image or None) of a record."""
  value, _ = record_values.normalize(data.read(number))
  example = checker.check(value, example_checks.Faults())
  return f'{data.place(number)}: id {name!r}', example and example['path']


def _report_left_out(data, text_only, without_questions, origin, say, others):
  """Reports records of text alone.

  Raises:
    ValueError: no record has questions.
  """
  if text_only:
    say(f'{origin}: {text_only} records of text alone are left out')
  records = len(data) - text_only - data.unowned
  if without_questions > 1 and without_questions == records:
    raise ValueError(
      f'{origin}: records must have questions, which score drawn images, got '
      f'none in {without_questions} records; give a file of TIFA questions '
      '(--config.files.questions, of pair_dpo --config.files.inputs.questions).'
      ' Captions alone work in configs/data.py and configs/understand.py'
      + (f'; faults of the questions: {others}' if others else '')
    )


def content_hash(data: rows.Rows) -> str:
  """Returns a SHA-256 over the texts of all records.

  Args:
    data: records; images inside other files are left out, see
      `image_folder.content_hash`.
  """
  total = hashlib.sha256()
  for number in range(len(data)):
    value = data.read(number)
    if isinstance(value, dict):
      value = {
        key: item
        for key, item in value.items()
        if not isinstance(item, stored_image.StoredImage)
      }
    total.update(json.dumps(value, sort_keys=True, default=str).encode())
  return total.hexdigest()


def image_folder_of(data: rows.Rows, images: str) -> image_folder.ImageFolder:
  """Returns the folder that image paths of a data set are relative to.

  Args:
    data: records.
    images: folder that the user names; '' for the default of the form.
  """
  if data.form in ('webdataset', 'tfds'):
    return image_folder.ImageFolder('.')
  return image_folder.ImageFolder(images or data.folder)
