"""Rows of CSV and TSV files by byte offset."""

import collections
from collections.abc import Iterator
import csv
import io
import itertools
import pathlib
import typing

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import rows
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import text_files
from hermesflow_jax.runtime import user_text

_BOM = b'\xef\xbb\xbf'


class CsvRows(rows.Rows):
  """Rows of a CSV or TSV file; the first row names the columns.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read, has no row of column names, or has two
      columns of a name.
  """

  def __init__(self, path: pathlib.PurePath):
    self.path = path
    self._delimiter = '\t' if path.suffix.lower() == '.tsv' else ','
    self._starts, self._lengths = disk_arrays.Integers(), disk_arrays.Integers()
    self._lines = disk_arrays.Integers()
    with byte_ranges.opened(path) as file:
      text_files.check_beginning(path, file)
      for start, length, line in self._ranges(file):
        self._starts.append(start)
        self._lengths.append(length)
        self._lines.append(line)
    if not self._starts:
      raise ValueError(f'{path} must have a row of column names, got none')
    columns = self._cells(0)
    if isinstance(columns, ValueError):
      raise ValueError(f'{path}: {self.place(-1)}: {columns}')
    self.columns = [column.strip() for column in columns]
    named = [column for column in self.columns if column]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
      raise ValueError(
        f'{path} must have columns of different names, got '
        f'{", ".join(map(user_text.quote, twice))} twice; rename a column'
      )

  def _ranges(self, file) -> Iterator[tuple[int, int, int]]:
    """Yields (byte offset, number of bytes, first line) of each row.

    A row with a fault is its first line, and the next line begins a row again.
    """
    start = len(_BOM) * (file.read(len(_BOM)) == _BOM)
    file.seek(start)
    lines, number = _Lines(file), 1
    reader = self._reader(lines)
    while True:
      try:
        next(reader)
      except StopIteration:
        return
      except csv.Error:
        lines.put_back()
        reader = self._reader(lines)
      row = b''.join(lines.taken)
      if row.strip():
        yield start, len(row), number
      start, number = start + len(row), number + len(lines.taken)
      lines.taken.clear()

  def _reader(self, lines):
    return csv.reader(lines, delimiter=self._delimiter, strict=True)

  def _cells(self, number) -> list[str] | ValueError:
    """Returns the cells of a row, or its fault; row 0 has the names."""
    data = byte_ranges.read(
      self.path, self._starts[number], self._lengths[number]
    )
    text = io.StringIO(data.decode('utf-8', 'surrogateescape'), newline='')
    try:
      return next(self._reader(text))
    except csv.Error as error:
      return ValueError(f'{error}; a quote may lack its partner')

  def __len__(self):
    return len(self._starts) - 1

  def place(self, number):
    """See `Rows`."""
    return f'line {self._lines[number + 1]}'

  def read(self, number):
    """See `Rows`; a record has the cells as texts."""
    cells = self._cells(number + 1)
    if isinstance(cells, ValueError):
      return cells
    if len(cells) != len(self.columns):
      return ValueError(
        f'a row must have {len(self.columns)} cells, got {len(cells)}'
      )
    return dict(zip(self.columns, cells, strict=True))


class _Lines:
  """Lines of a file as texts, some of which can be read again.

  Lines end in line feeds, carriage returns or both, as csv expects; a byte that
  is no UTF-8 becomes a lone surrogate.

  Attributes:
    taken: bytes of the lines that were read since the list was cleared.

  Args:
    file: open for reading bytes.
  """

  def __init__(self, file: typing.BinaryIO):
    self._lines = itertools.chain.from_iterable(
      part.splitlines(keepends=True) for part in file
    )
    self._again, self.taken = collections.deque(), []

  def __iter__(self):
    return self

  def __next__(self) -> str:
    line = self._again.popleft() if self._again else next(self._lines)
    self.taken.append(line)
    return line.decode('utf-8', 'surrogateescape')

  def put_back(self) -> None:
    """Lets the lines behind the first of `taken` be read again."""
    self._again.extendleft(reversed(self.taken[1:]))
    del self.taken[1:]
