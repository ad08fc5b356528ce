"""Tables of records: JSON lines or CSV, with columns under their own names."""

import array
import csv
import itertools
import pathlib

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import rows
from hermesflow_jax.runtime import text_files

# Bytes of the longest row of a CSV file.
_MOST_BYTES = 2**22


class CsvRows(rows.Rows):
  """Rows of a CSV or TSV file by byte offset; the first row names the columns.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read, or has no row of column names.
  """

  def __init__(self, path: pathlib.PurePath):
    self.path = path
    self._delimiter = '\t' if path.suffix.lower() == '.tsv' else ','
    self._starts, self._lengths = array.array('Q'), array.array('Q')
    self._lines = array.array('Q')
    with byte_ranges.opened(path) as file:
      self._index(file)
    if not self._starts:
      raise ValueError(f'{path} must have a row of column names, got none')
    columns = self._cells(0)
    if isinstance(columns, ValueError):
      raise ValueError(f'{path}: line 1: {columns}')
    self.columns = [column.removeprefix('\ufeff').strip() for column in columns]
    for values in (self._starts, self._lengths, self._lines):
      values.pop(0)

  def _index(self, file):
    """Finds the rows: a line end inside quotes belongs to its cell."""
    start, length, first, quotes = 0, 0, 1, 0
    for number, line in enumerate(file, 1):
      if number == 1:
        text_files.check(self.path, line)
      length += len(line)
      quotes += line.count(b'"')
      if quotes % 2 and length < _MOST_BYTES:
        continue
      if line.strip() or quotes:
        self._add(start, length, first)
      start, length, first, quotes = start + length, 0, number + 1, 0
    if length:
      self._add(start, length, first)

  def _add(self, start, length, line):
    self._starts.append(start)
    self._lengths.append(length)
    self._lines.append(line)

  def _cells(self, number):
    """Returns the cells of a row, or a ValueError."""
    data = byte_ranges.read(
      self.path, self._starts[number], self._lengths[number]
    )
    text = data.decode('utf-8', 'surrogateescape')
    reader = csv.reader(
      text.splitlines(keepends=True), delimiter=self._delimiter, strict=True
    )
    try:
      return list(itertools.chain(*reader))
    except csv.Error as error:
      return ValueError(str(error))

  def __len__(self):
    return len(self._starts)

  def place(self, number):
    """See `Rows`."""
    return f'line {self._lines[number]}'

  def read(self, number):
    """See `Rows`; a record has the cells as texts."""
    cells = self._cells(number)
    if isinstance(cells, ValueError):
      return cells
    if len(cells) != len(self.columns):
      return ValueError(
        f'a row must have {len(self.columns)} cells, got {len(cells)}'
      )
    return dict(zip(self.columns, cells, strict=True))


class RenamedRows(rows.Rows):
  """Records with some fields under our names.

  Args:
    inner: records with their own names.
    fields: their name by our name, e.g. {'caption': 'text'}. A path into nested
      values has slashes, e.g. 'captions/text'.
  """

  def __init__(self, inner: rows.Rows, fields: dict[str, str]):
    self._inner, self._fields = inner, fields
    self.form, self.folder = inner.form, inner.folder
    self.has_repeated_ids = inner.has_repeated_ids
    self.orphans, self.orphan_files = inner.orphans, inner.orphan_files
    self.unowned = inner.unowned

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
    renamed = {
      ours: value_at(record, theirs) for ours, theirs in self._fields.items()
    }
    return record | renamed


def value_at(record: dict, path: str):
  """Returns a field of a record; None if the record lacks it.

  Args:
    record: a mapping.
    path: name of the field, or names of nested fields with slashes. A name
      that has a slash itself comes first, e.g. TFDS's 'image/filename'.
  """
  if path in record:
    return record[path]
  parts = path.split('/')
  for end in range(len(parts) - 1, 0, -1):
    inner = record.get('/'.join(parts[:end]))
    if isinstance(inner, dict):
      return value_at(inner, '/'.join(parts[end:]))
    if isinstance(inner, list) and all(isinstance(i, dict) for i in inner):
      return [value_at(item, '/'.join(parts[end:])) for item in inner]
  return None
