"""Plain texts for language-model rows: text files, tables or JSON records.

A text file holds paragraphs, with empty lines between them. Of a folder, each
.txt file is a text. Records hold their text in a field.
"""

import array
from collections.abc import Sequence
import pathlib

from hermesflow_jax.data import image_listing
from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import folder_rows
from hermesflow_jax.data.sources import llava
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import tables
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import text_files

# Bytes of the longest text; the rest is another text.
_MOST_BYTES = 2**20


class ParagraphRows(rows.Rows):
  """Paragraphs of a text file by byte offset.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read, or is no text.
  """

  form = 'text'

  def __init__(self, path: pathlib.PurePath):
    self.path = path
    self._starts, self._lengths = array.array('Q'), array.array('Q')
    start = length = position = 0
    with byte_ranges.opened(path) as file:
      for number, line in enumerate(file, 1):
        if number == 1:
          text_files.check(path, line)
        if (not line.strip() or length > _MOST_BYTES) and length:
          self._add(start, length)
          length = 0
        if line.strip():
          start = position if not length else start
          length += len(line)
        position += len(line)
    if length:
      self._add(start, length)

  def _add(self, start, length):
    self._starts.append(start)
    self._lengths.append(length)

  def __len__(self):
    return len(self._starts)

  def place(self, number):
    """See `Rows`."""
    return f'paragraph {number + 1}'

  def read(self, number):
    """See `Rows`."""
    data = byte_ranges.read(
      self.path, self._starts[number], self._lengths[number]
    )
    return {'text': data.decode('utf-8-sig', 'replace').strip()}


class FileRows(rows.Rows):
  """Text files of a folder.

  Args:
    folder: the folder, a `storage.path`.
    names: files, relative to the folder.
  """

  form = 'text'

  def __init__(self, folder: pathlib.PurePath, names: Sequence[str]):
    self._folder, self._names = folder, list(names)

  def __len__(self):
    return len(self._names)

  def place(self, number):
    """See `Rows`."""
    return self._names[number]

  def read(self, number):
    """See `Rows`."""
    with byte_ranges.opened(self._folder / self._names[number]) as file:
      data = file.read(_MOST_BYTES)
    return {'text': data.decode('utf-8-sig', 'replace').strip()}


class Texts(Sequence):
  """The texts of a source as examples {'text': str} for Grain.

  Args:
    path: a .txt file, a folder of them, a .csv or .tsv table, or JSON records.
    field: field of a record that holds the text; of a conversation in LLaVA's
      form all turns are the text.

  Raises:
    ValueError: the source cannot be read, or its first record has no text.
  """

  def __init__(self, path: str, field: str = 'text'):
    self._rows, self._field, self._path = _open(path), field, path
    if not len(self._rows):
      raise ValueError(f'{path} must hold texts, got none')
    self[0]

  def __len__(self):
    return len(self._rows)

  def __getitem__(self, index):
    record = self._rows.read(index)
    text = record
    if isinstance(record, dict):
      if llava.is_record(record) and self._field not in record:
        turns = llava.turns(record['conversations'])
        return {'text': '\n'.join(text for turn in turns for text in turn)}
      text = tables.value_at(record, self._field)
    if not isinstance(text, str):
      place = self._rows.place(index)
      raise ValueError(
        f'{self._path}: {place}: {self._field} must be a text, got '
        f'{str(text)[:80]!r}; name the field by the setting field'
      )
    return {'text': text}


def _open(path: str) -> rows.Rows:
  """Returns the rows of a source of texts."""
  where = storage.path(path)
  if storage.is_folder(where):
    _, others = image_listing.list_folder(where)
    names = [name for name in others if name.lower().endswith('.txt')]
    if not names:
      raise ValueError(f'{path} must have .txt files, got none')
    return FileRows(where, sorted(names))
  if where.suffix.lower() in ('.txt', '.text', '.md'):
    return ParagraphRows(where)
  return folder_rows.open_table(where)
