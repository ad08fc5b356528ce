"""Checks records, their questions and their images before weights are read."""

from collections.abc import Sequence
import itertools
import pathlib

from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import known_words

# Number of ids that a warning names.
_LISTED = 10
# Records whose texts are looked at for warnings beside faults.
_WARNED = 10_000


def load_text_checks(
  config: job_model.ModelSettings,
  path: pathlib.PurePath,
  answering: question_answering.AnswerConfig,
) -> unified_model.UnifiedModel:
  """Returns a model without weights, which only checks texts.

  Of its methods `check_question` and `read_to` work. Faults of texts can so be
  reported with all others, before any weight is read.

  Args:
    config: job settings.
    path: model folder, from `job_model.locate`.
    answering: how questions with choices are answered.

  Raises:
    ValueError: see `model_folder.ModelFolder.load_text`.
  """
  text, lengths, grid = initial_model.open(path).load_text(
    config.sizes, config.text
  )
  return unified_model.UnifiedModel(
    model=None,
    tokenizer=None,
    text=text,
    lengths=lengths,
    grid=grid,
    mesh=None,
    chunk=config.chunk,
    progress=terminal.silent().progress,
    answering=answering,
  )


def read_records(
  source: record_files.Source,
  count: int,
  unified: unified_model.UnifiedModel,
  console: terminal.Console,
) -> Sequence[dict]:
  """Reads records before any weight is read, with all their faults at once.

  Args:
    source: files.
    count: records that are used, the first by id.
    unified: model from `load_text_checks`.
    console: prints which texts the model misreads, if records have faults;
      otherwise `job_inputs.read_inputs` prints it.

  Returns:
    Records, see `record_files.read_records`. With on_error='skip' questions are
    not checked: `job_inputs.read_inputs` leaves them out.

  Raises:
    ValueError: faults of fields, questions and images; or the files hold fewer
      records.
  """
  checked = []

  def check(record):
    # Memory must not hold a large set.
    if len(checked) < _WARNED:
      checked.append(record)
    check_questions(unified, record)

  try:
    if source.on_error == 'skip':
      records = record_files.open_records(source)
    else:
      records = record_files.open_records(source, check=check, opened=count)
  except ValueError:
    # The user mends long captions together with the faults.
    report_misread(unified, [r for r in checked if r['caption']], console)
    raise
  report_unused(source, len(records), count, console)
  return records


def check_files(
  sources: Sequence[tuple[record_files.Source, int]],
  unified: unified_model.UnifiedModel,
  console: terminal.Console,
) -> tuple[list[dict], list[pathlib.PurePath]]:
  """Checks files of inputs and files of held-out records.

  Args:
    sources: (files, number of records that are used); [] for none.
    unified: model from `load_text_checks`.
    console: prints how many records are unused, and which are used twice.

  Returns:
    SHA-256 for each of the sources, and all image files.

  Raises:
    ValueError: a file cannot be used; the error names the faults of all files.
  """
  records, hashes, faults = [], [], []
  for source, count in sources:
    try:
      rows = read_records(source, count, unified, console)
    except ValueError as error:
      faults.append(str(error))
      continue
    used = disk_objects.Computed(min(count, len(rows)), rows.__getitem__)
    records.append(disk_objects.few_as_list(used))
    hashes.append(record_files.file_hashes(source))
  if faults:
    raise ValueError('; '.join(faults))
  if len(records) == 2:
    report_overlap(*records, console)
  return hashes, [row['path'] for rows in records for row in rows]


def check_questions(unified: unified_model.UnifiedModel, record: dict) -> None:
  """Checks that a model can read all questions of a record.

  Args:
    unified: the model, or `load_text_checks`.
    record: record with questions.

  Raises:
    ValueError: names the faults of all questions.
  """
  faults = []
  for question in record['questions']:
    input_faults.attempt(faults, unified.check_question, question)
  if faults:
    raise ValueError('; '.join(faults))


def check_count(files: record_files.Source, records: int, count: int) -> None:
  """Raises ValueError for too few records, unless some may be skipped.

  Args:
    files: source files.
    records: their record count.
    count: records that are used.
  """
  if records < count and files.on_error == 'raise':
    raise ValueError(
      f'{files.annotations} must have {count} records, got {records}; add '
      'records, or give a smaller --config.inputs or --config.held_out'
    )


def report_misread(
  unified: unified_model.UnifiedModel,
  rows: Sequence[dict],
  console: terminal.Console,
) -> None:
  """Warns of captions that are too long, and of words that are not known.

  Args:
    unified: model that reads the records.
    rows: records with id, caption and questions.
    console: prints the warnings.
  """
  _report_long_captions(unified, rows, console)
  captions = (r['caption'] for r in rows)
  texts = (
    text
    for row in rows
    for question in row['questions']
    for text in (question['question'], *question['choices'])
  )
  texts = itertools.chain(captions, texts)
  if warning := known_words.unknown_warning(unified.text, texts):
    console.say(warning)


def _report_long_captions(unified, rows, console):
  cut = [r['id'] for r in rows if unified.read_to(r['caption']) is not None]
  _report_cut(cut, 'captions are', 'the model reads', console)


def _report_cut(ids, subject, reader, console):
  if ids:
    more = f' and {len(ids) - _LISTED} more' if len(ids) > _LISTED else ''
    console.say(
      f'warning: {len(ids)} {subject} too long; {reader} only their '
      f'beginning: {", ".join(ids[:_LISTED])}{more}'
    )


def report_long_texts(
  unified: unified_model.UnifiedModel,
  rows: Sequence[dict],
  console: terminal.Console,
) -> None:
  """Warns of captions of pairs that rows cut, as files of others may hold.

  Args:
    unified: model that learns.
    rows: records with id, caption, caption_win and caption_lose.
    console: prints the warnings.
  """
  _report_long_captions(unified, rows, console)
  replies = unified.text.encode_replies(
    [r[f'caption_{side}'] for r in rows for side in ('win', 'lose')]
  )
  # A reply also has an end token.
  too_long = [len(tokens) >= unified.lengths.reply for tokens in replies]
  cut = [
    r['id'] for n, r in enumerate(rows) if any(too_long[2 * n : 2 * n + 2])
  ]
  _report_cut(cut, 'pairs have a caption that is', 'the model learns', console)


def report_unused(
  files: record_files.Source,
  records: int,
  count: int,
  console: terminal.Console,
) -> None:
  """Prints the number of records in files that are not used, if any.

  Args:
    files: source files.
    records: their record count.
    count: records that are used, the first by id.
    console: prints the line.

  Raises:
    ValueError: the files hold fewer records, and none may be skipped.
  """
  check_count(files, records, count)
  if records > count:
    console.say(
      f'{files.annotations} has {records} records: the first {count} by id '
      f'are used, {records - count} are not'
    )


def report_overlap(
  inputs: Sequence[dict], held_out: Sequence[dict], console: terminal.Console
) -> None:
  """Prints the number of held-out records that are also inputs, if any.

  Args:
    inputs: records for learning, from `record_files.read_records`.
    held_out: records for evaluation.
    console: prints the line.

  Raises:
    ValueError: all held-out records have the id and the caption of an input.
  """
  both = 'id', 'caption'
  labels = {'id': 'id', 'path': 'image file', 'caption': 'caption'}
  fields = [both, *((name,) for name in labels)]

  def values(record):
    return [tuple(str(record[name]) for name in names) for names in fields]

  of_held_out = list(zip(*map(values, held_out)))
  missing = [set(column) for column in of_held_out]
  for record in inputs:
    for column, value in zip(missing, values(record)):
      column.discard(value)
  known = {
    names: [value not in rest for value in column]
    for names, column, rest in zip(fields, of_held_out, missing)
  }
  if all(known.get(both, ())):
    raise ValueError(
      'files.held_out must hold records that are not inputs, got '
      f'{len(held_out)} records that all have the id and the caption of an '
      'input; give other records for the evaluation'
    )
  counts = {
    label: sum(known.get((name,), ())) for name, label in labels.items()
  }
  if any(counts.values()):
    console.say(
      f'warning: of {len(held_out)} held-out records '
      + ', '.join(
        f'{n} have the {label} of an input' for label, n in counts.items() if n
      )
    )
