"""Checked examples of a data set, read at random for Grain."""

from collections.abc import Callable
from collections.abc import Sequence
import hashlib
import json

from hermesflow_jax.data import image_folder
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_values
from hermesflow_jax.data.sources import record_checks
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import stored_image


class ValidRecords(Sequence):
  """Records without faults; memory holds their positions alone.

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
    checker: record_checks.Checker,
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
    return self._checker.check(value)

  def place(self, index: int) -> str:
    """Returns where a record stands, for messages, e.g. 'line 3'."""
    return self._data.place(self._numbers[index])


class Examples(ValidRecords):
  """Valid records with ids of their own; memory holds ids and positions.

  Args:
    data: all records.
    checker: checks that return an example.
    numbers: positions of the examples among the records.
    ids: their ids.
  """

  def __init__(
    self,
    data: rows.Rows,
    checker: record_checks.Checker,
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
  checker: record_checks.Checker,
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
    check: raises ValueError for examples that the caller cannot use.
    opened: see `record_files.read_records`.
    faults: faults that were found before.

  Raises:
    ValueError: one line with the first faults and their number.
  """
  faults, odd = list(faults), record_values.OddCharacters()
  numbers, ids, repeats = [], {}, {}
  text_only = without_questions = 0
  for number in range(len(data)):
    place = data.place(number)
    try:
      value = odd.normalize(place, data.read(number))
      if checker.skips(value):
        text_only += 1
        continue
      example = checker.check(value)
      name = example['id']
      if name in ids and data.has_repeated_ids and not checker.needs_questions:
        repeats[name] = repeats.get(name, 1) + 1
        name = f'{name}.{repeats[name]}'
      if name in ids:
        raise ValueError(f'duplicate id {name!r}')
      check(example)
    except ValueError as error:
      faults.append(f'{place}: {error}')
      without_questions += getattr(error, 'only_questions', False)
    else:
      ids[name] = None
      numbers.append(number)
  odd.report(origin, say)
  _report_left_out(data, text_only, without_questions, origin, say)
  names = list(ids)
  order = sorted(range(len(names)), key=names.__getitem__)
  valid = Examples(
    data, checker, [numbers[n] for n in order], [names[n] for n in order]
  )
  if on_error == 'raise':
    for index in range(len(valid))[:opened]:
      example = valid[index]
      fault = image_reader.header_fault(example['path'])
      if fault:
        faults.append(f'{valid.place(index)}: id {example["id"]!r}: {fault}')
  if not valid and not faults:
    faults.append('there is no record')
  input_faults.raise_or_report(faults, len(valid), on_error, say, origin)
  return valid


def _report_left_out(data, text_only, without_questions, origin, say):
  """Reports records of text alone.

  Raises:
    ValueError: no record has questions.
  """
  if text_only:
    say(f'{origin}: {text_only} records of text alone are left out')
  if without_questions > 1 and without_questions == len(data) - text_only:
    raise ValueError(
      f'{origin}: records must have questions, which score drawn images, got '
      f'none in {without_questions} records; give a file of TIFA questions '
      '(--config.files.questions, of pair_dpo --config.files.inputs.questions).'
      ' Captions alone work in configs/data.py and configs/understand.py'
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
