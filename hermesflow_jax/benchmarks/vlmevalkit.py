"""Tables of VLMEvalKit: a benchmark in one TSV file, images as base64.

VLMEvalKit (github.com/open-compass/VLMEvalKit) has the columns `index`, `image`
(base64 of a PNG or JPEG file, or the index of another row with the same image)
or `image_path`, `question`, `answer`, and often `category` and options `A` to
`D`. Its scorers read the same table with a column `prediction`.
"""

import base64
import binascii
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import csv
import functools
import io
import pathlib
import re

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import storage

# A longer image cell is base64; a shorter one names another row.
_LONGEST_INDEX = 64
_MOST_BYTES = 2**30
# Characters that VLMEvalKit takes out of a reply.
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r'\d,\d')
_PERIOD = re.compile(r'(?<!\d)\.(?!\d)')
# VLMEvalKit hands a flag to `re.sub` in the place of the count.
_MOST_PERIODS = int(re.UNICODE)


class Table:
  """Rows of a TSV file; images stay in the file until they are opened.

  Args:
    path: the file, a `storage.path`.

  Attributes:
    columns: column names.
    rows: cells by column of each row, without the image.

  Raises:
    ValueError: the file cannot be read, lacks a column, or a row has another
      number of cells, or an index twice.
  """

  def __init__(self, path: pathlib.PurePath):
    self.path, self.rows = path, []
    self._places, self._images = [], []
    self.columns = None
    number_by_index = {}
    for start, length, cells in _records(path):
      if self.columns is None:
        self.columns = self._header(cells)
        continue
      if len(cells) != len(self.columns):
        raise ValueError(
          f'{path}: row {len(self.rows) + 1} must have {len(self.columns)} '
          f'cells, got {len(cells)}'
        )
      row = dict(zip(self.columns, cells, strict=True))
      image = row.pop('image', '')
      if row['index'] in number_by_index:
        raise ValueError(f'{path}: index {row["index"]} must occur once')
      number_by_index[row['index']] = len(self.rows)
      self._images.append(image if len(image) <= _LONGEST_INDEX else None)
      self._places.append((start, length))
      self.rows.append(row)
    if not self.rows:
      raise ValueError(f'{path} must have rows, got none')
    self._number_by_index = number_by_index

  def _header(self, cells) -> list[str]:
    columns = [cell.removeprefix('\ufeff').strip() for cell in cells]
    for name in ('index', 'question'):
      if name not in columns:
        raise ValueError(
          f'{self.path} must have a column {name!r}, got {columns}'
        )
    if not {'image', 'image_path'} & set(columns):
      raise ValueError(
        f"{self.path} must have a column 'image' or 'image_path', got {columns}"
      )
    return columns

  def image(self, number: int, folder: str = ''):
    """Returns the image of a row.

    Args:
      number: row number.
      folder: folder of the images that `image_path` names; '' for the folder of
        the table.

    Raises:
      ValueError: the row has no image.
    """
    source = number
    name = self._images[number]
    if name:
      source = self._number_by_index.get(name)
      if source is None or self._images[source] is not None:
        raise ValueError(f'image must be base64 or an index, got {name!r}')
    elif name == '':
      return self._file(number, folder)
    where = f'{self.path}, index {self.rows[source]["index"]}'
    start, length = self._places[source]
    return stored_image.StoredImage(
      where,
      functools.partial(self._decode, start, length),
      f'{storage.version_stamp(self.path)}/{start}',
    )

  def _file(self, number, folder):
    name = self.rows[number].get('image_path', '')
    if not name:
      raise ValueError('it has no image')
    root = storage.path(folder) if folder else self.path.parent
    path = root / name
    if not path.is_file():
      raise ValueError(f'there is no image {path}')
    return path

  def _decode(self, start, length) -> bytes:
    text = byte_ranges.read(self.path, start, length).decode()
    # A file whose line ends were changed twice has empty records.
    cells = next(filter(None, _reader(io.StringIO(text, newline=''))))
    cell = dict(zip(self.columns, cells, strict=True))['image']
    try:
      return base64.b64decode(cell, validate=False)
    except binascii.Error as error:
      raise ValueError(f'{self.path}: image is no base64 ({error})') from error

  def predictions(self, replies: Mapping[str, str]) -> str:
    """Returns the table that VLMEvalKit scores, as text of a TSV file.

    Args:
      replies: reply by index.
    """
    columns = [name for name in self.columns if name != 'image']
    return prediction_table(columns, self.rows, replies)


def prediction_table(
  columns: Sequence[str],
  rows: Sequence[Mapping[str, object]],
  replies: Mapping[str, str],
) -> str:
  """Returns text of a TSV file with a column `prediction`.

  Args:
    columns: column names, with `index`.
    rows: cells by column.
    replies: reply by index; '' where there is none.
  """
  file = io.StringIO()
  writer = csv.writer(file, delimiter='\t', lineterminator='\n')
  writer.writerow([*columns, 'prediction'])
  for row in rows:
    reply = replies.get(str(row['index']), '')
    writer.writerow([*(row.get(name, '') for name in columns), reply])
  return file.getvalue()


def plain_words(text: str) -> list[str]:
  """Returns the words of a reply as VLMEvalKit compares them.

  Args:
    text: a reply, in any case.
  """
  text = source = text.lower()
  in_number = _COMMA_IN_NUMBER.search(source)
  for mark in _PUNCTUATION:
    beside_space = f'{mark} ' in source or f' {mark}' in source
    text = text.replace(mark, '' if beside_space or in_number else ' ')
  return _PERIOD.sub('', text, count=_MOST_PERIODS).split()


def _reader(lines):
  csv.field_size_limit(_MOST_BYTES)
  return csv.reader(lines, delimiter='\t')


def _records(path) -> Iterator[tuple[int, int, list[str]]]:
  """Yields (first byte, number of bytes, cells) of each record.

  Raises:
    ValueError: the file cannot be read.
  """
  position = 0

  def lines(file):
    nonlocal position
    for line in file:
      position += len(line)
      yield line.decode()

  start = 0
  try:
    with byte_ranges.opened(path) as file:
      for cells in _reader(lines(file)):
        if cells:
          yield start, position - start, cells
        start = position
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f'{path} cannot be read: {error}') from error
