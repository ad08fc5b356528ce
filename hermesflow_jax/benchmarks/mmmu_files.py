"""Files of MMMU: parquet files of its release, or VLMEvalKit's table.

A reader yields (id, fault or record) pairs. A record has `question`, `options`
(texts), `answer` (texts), `image` and `images` (their number), and of the table
its `index`.
"""

import ast
from collections.abc import Iterator
import functools
import pathlib
import re

from hermesflow_jax.benchmarks import vlmevalkit
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import storage

_LETTERS = 'ABCDEFGHIJ'
_PARQUET = re.compile(r'validation-.*\.parquet$')
_COLUMNS = ('id', 'question', 'options', 'answer', 'question_type')
_PLACES = re.compile(r'<image \d>')
_IMAGES = tuple(f'image_{n}' for n in range(1, 8))


def release_records(path: pathlib.PurePath) -> Iterator:
  """Yields the questions of the release; see the module.

  Args:
    path: folder with a folder per subject, each with `validation-*.parquet`.

  Raises:
    ValueError: there is no such file, or one cannot be read.
  """
  files = []
  if path.is_dir():
    for folder in [path, *(path / n for n in sorted(storage.list_names(path)))]:
      if folder.is_dir():
        names = filter(_PARQUET.match, sorted(storage.list_names(folder)))
        files += [folder / name for name in names]
  if not files:
    raise ValueError(
      'path of mmmu must be a folder with <Subject>/validation-*.parquet, or '
      f'MMMU_DEV_VAL.tsv, got {path}'
    )
  for file in files:
    yield from _parquet_records(file)


def _parquet_records(path) -> Iterator:
  # Arrow takes a second to import, and few benchmarks need it.
  import pyarrow as pa
  from pyarrow import parquet

  try:
    schema = parquet.read_schema(path)
    absent = [name for name in _COLUMNS if name not in schema.names]
    if absent:
      raise ValueError(
        f'{path} must have columns {", ".join(_COLUMNS)}, got none of '
        f'{", ".join(absent)}'
      )
    cells = schema.field('image_1').type if 'image_1' in schema.names else None
    if (
      not isinstance(cells, pa.StructType) or cells.get_field_index('bytes') < 0
    ):
      raise ValueError(
        f"{path} must have images in a column 'image_1' with bytes, got {cells}"
      )
    table = parquet.read_table(path, columns=list(_COLUMNS)).to_pylist()
    present = [name for name in _IMAGES if name in schema.names]
    counts = _image_counts(parquet, path, present)
  except (OSError, pa.ArrowException) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
  for number, value in enumerate(table):
    name = str(value['id'])
    image = stored_image.StoredImage(
      f'{path}, {name}',
      functools.partial(_image_bytes, path, number),
      f'{storage.version_stamp(path)}/{number}',
    )
    try:
      yield name, _record(value, image, counts[number])
    except ValueError as error:
      yield name, error


def _image_counts(parquet, path, columns) -> list[int]:
  """Returns the number of images of each row."""
  counts = None
  for name in columns:
    cells = parquet.read_table(path, columns=[name]).column(0).is_valid()
    values = [int(value.as_py()) for value in cells]
    counts = (
      values
      if counts is None
      else [a + b for a, b in zip(counts, values, strict=True)]
    )
  return counts


@functools.lru_cache(maxsize=2)
def _first_images(path) -> list[bytes]:
  """Returns the first image of each row of a file; two files stay in memory."""
  from pyarrow import parquet

  cells = parquet.read_table(path, columns=['image_1']).column(0).to_pylist()
  return [cell['bytes'] if cell else b'' for cell in cells]


def _image_bytes(path, number) -> bytes:
  return _first_images(path)[number]


def _record(value, image, count) -> dict:
  """Returns a record of the release.

  Raises:
    ValueError: a field has another form, or there is no image.
  """
  options = []
  if value['question_type'] == 'multiple-choice':
    options = _literal(value['options'], 'options')
    if not isinstance(options, list) or len(options) < 2:
      raise ValueError(f'options must be a list, got {value["options"]!r}')
    _check_letters(_answers(value['answer']), options)
  if not isinstance(value['question'], str):
    raise ValueError(f'question must be a text, got {value["question"]!r:.60}')
  if not count:
    raise ValueError('it has no image')
  return {
    'question': str(value['question']),
    'options': [str(option) for option in options],
    'answer': _answers(value['answer']),
    'image': image,
    'images': count,
  }


def _literal(text, name):
  """Returns the value of a Python literal, as the release writes lists."""
  if not isinstance(text, str):
    return text
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
    raise ValueError(f'{name} must be a list, got {text!r:.60}') from error


def _answers(text) -> list[str]:
  """Returns the right answers; some questions have several in a list."""
  if isinstance(text, str) and text.startswith('['):
    text = _literal(text, 'answer')
  values = text if isinstance(text, list) else [text]
  return [str(value) for value in values]


def _check_letters(answers, options) -> None:
  """Raises ValueError if an answer names no option."""
  letters = _LETTERS[: len(options)]
  for letter in answers:
    if letter not in letters:
      raise ValueError(f'answer must be among {letters}, got {letter!r:.60}')


def table_records(path: pathlib.PurePath, images: str) -> Iterator:
  """Yields the validation questions of VLMEvalKit's table; see the module.

  Args:
    path: TSV file.
    images: folder of images that `image_path` names; '' for that of the file.

  Raises:
    ValueError: the table cannot be read, or has no validation question.
  """
  table, count = vlmevalkit.Table(path), 0
  for number, cells in enumerate(table.rows):
    if cells.get('split', 'validation') not in ('validation', 'val'):
      continue
    count += 1
    name = cells.get('id') or f'validation_{cells.get("category")}_{number}'
    options = [cells[x] for x in _LETTERS if cells.get(x)]
    try:
      if not cells.get('answer'):
        raise ValueError('answer must not be empty')
      if len(options) > 1:
        _check_letters(_answers(cells['answer']), options)
      yield (
        name,
        {
          'index': cells['index'],
          'question': cells['question'],
          'options': options if len(options) > 1 else [],
          'answer': _answers(cells['answer']),
          'image': table.image(number, images),
          'images': max(1, len(set(_PLACES.findall(cells['question'])))),
        },
      )
    except ValueError as error:
      yield name, error
  if not count:
    raise ValueError(
      f"{path} must have rows whose split is 'validation', got none"
    )
