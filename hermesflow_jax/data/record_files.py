"""Reads image-caption records from data sets of any form.

A record is {"id", "img_path", "caption", "questions"}. Questions have TIFA form
(arXiv 2303.11897). They may stand in a separate TIFA file, joined by id. Both
files may be JSON lines, a JSON list, or records separated by commas, as the
scripts of HermesFlow write them (`initial_data.json`, `vqa_data.json`). Numeric
ids become text. Other forms are recognized by their content, see
`sources.forms`: JourneyDB, COCO's captions, LLaVA's instruction files, folders
of images, webdataset shards, TFDS datasets. All faults are reported before
training; records with faults are skipped only with on_error='skip', and never
replaced.
"""

from collections.abc import Callable
import dataclasses
import typing

from hermesflow_jax.data import input_faults
from hermesflow_jax.data import tifa_questions
from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import coco_captions
from hermesflow_jax.data.sources import example_checks
from hermesflow_jax.data.sources import examples
from hermesflow_jax.data.sources import forms
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import shard_names
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage


@dataclasses.dataclass(frozen=True)
class Source:
  """The files that records are read from.

  Attributes:
    annotations: file of records, folder, shards such as 'a/{000..010}.tar', or
      'tfds:<name>'; see `forms.open_rows`.
    images: folder that image paths are relative to; '' for the folder of the
      annotations. Of a TFDS dataset, its data_dir.
    questions: TIFA file; '' if the annotations hold the questions.
    on_error: 'raise', or 'skip' to skip records with faults and report them.
    form: form of the annotations; 'auto' recognizes it.
    fields: fields of the records by our names, e.g. 'caption=text'; see
      `forms.parse_fields`.
    caption_choice: which of several captions of an image is taken.
  """

  annotations: str = settings.path_of_content('data')
  images: str = settings.path_of_content('image_files', default='')
  questions: str = settings.path_of_content('data', default='')
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )
  form: typing.Annotated[str, settings.one_of(forms.AUTO, *forms.FORMS)] = (
    forms.AUTO
  )
  fields: str = ''
  caption_choice: typing.Annotated[
    str, settings.one_of(*coco_captions.CHOICES)
  ] = 'first'

  def __post_init__(self):
    settings.check(self)
    forms.parse_fields(self.fields)


def open_rows(source: Source) -> rows.Rows:
  """Returns the unchecked records of a source; see `forms.open_rows`."""
  return forms.open_rows(
    source.annotations,
    source.images,
    source.form,
    source.fields,
    source.caption_choice,
  )


def open_records(
  source: Source,
  say: Callable[[str], None] = lambda line: None,
  check: Callable[[dict], None] = lambda record: None,
  opened: int | None = 0,
  needs_questions: bool = True,
  text_only: str = 'refuse',
) -> examples.Examples:
  """Checks all records; they stay in their files.

  Args:
    source: see `read_records`.
    say: see `read_records`.
    check: see `read_records`.
    opened: see `read_records`.
    needs_questions: whether a record without questions is a fault.
    text_only: see `example_checks.TEXT_ONLY`.

  Returns:
    Records as of `read_records`, read whenever they are taken.

  Raises:
    ValueError: see `read_records`.
  """
  index, faults = None, []
  if source.questions:
    index = tifa_questions.QuestionIndex(source.questions, say)
    faults = index.faults
  data = open_rows(source)
  checker = example_checks.Checker(
    examples.image_folder_of(data, source.images),
    index,
    needs_questions,
    # GPT-3.5 wrote JourneyDB's questions, some without options.
    data.form == 'journeydb' and source.on_error == 'skip',
    text_only,
  )
  return examples.check_all(
    data,
    checker,
    source.annotations,
    source.on_error,
    say,
    check,
    opened,
    faults,
  )


def open_pictures(
  source: Source, say: Callable[[str], None]
) -> examples.Examples:
  """Returns the records of a data set whose images alone are read.

  Records of text alone are left out.

  Args:
    source: files.
    say: see `read_records`.

  Raises:
    ValueError: see `read_records`; the error names the setting that leaves out
      records with faults.
  """
  try:
    return open_records(source, say, needs_questions=False, text_only='skip')
  except ValueError as error:
    # Faults of records begin with the name of the data set.
    faulty = str(error).startswith(f'{source.annotations}: ')
    if source.on_error == 'skip' or not faulty:
      raise
    raise ValueError(
      f'{error}; leave such records out with --config.files.on_error=skip'
    ) from error


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
  return list(open_records(source, say, check, opened))


def file_hashes(source: Source) -> dict[str, str]:
  """Returns a SHA-256 sum for each annotation file by path.

  Of a folder, of shards and of a dataset, the texts of the records are hashed.
  """
  hashes = {}
  if source.questions:
    hashes[source.questions] = byte_ranges.sha256(
      storage.path(source.questions)
    )
  name = source.annotations
  is_file = not name.startswith('tfds:') and storage.is_file(storage.path(name))
  if is_file and not shard_names.is_pattern(name):
    digest = byte_ranges.sha256(storage.path(name))
  else:
    digest = examples.content_hash(open_rows(source))
  return {name: digest} | hashes
