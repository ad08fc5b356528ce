"""Plain texts for language-model rows: text files, tables or JSON records.

A text file holds paragraphs, with empty lines between them. Of a folder, each
.txt file is a text. Records hold their text in a field.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import pathlib

from hermesflow_jax.data import image_listing
from hermesflow_jax.data import input_faults
from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import folder_rows
from hermesflow_jax.data.sources import llava
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import tables
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import text_files
from hermesflow_jax.runtime import user_text

# Bytes after which the rest of a text is another text.
_MOST_BYTES = 2**20
_NO_TEXT = 'must be a text, got'


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
    self._starts, self._lengths = disk_arrays.Integers(), disk_arrays.Integers()
    with byte_ranges.opened(path) as file:
      head = text_files.check_beginning(path, file)
      for start, length in _paragraphs(file, b'\n' not in head):
        self._starts.append(start)
        self._lengths.append(length)

  def __len__(self):
    return len(self._starts)

  def place(self, number):
    """See `Rows`."""
    return f'paragraph {number + 1}'

  def read(self, number):
    """See `Rows`."""
    return _text(self.path, self._starts[number], self._lengths[number])


class FileRows(rows.Rows):
  """Text files of a folder; long files are several texts.

  Args:
    folder: the folder, a `storage.path`.
    names: files, relative to the folder.
  """

  form = 'text'

  def __init__(self, folder: pathlib.PurePath, names: Sequence[str]):
    self._folder, self._names = folder, names
    # Number of the file, offset and number of bytes of each text.
    self._files, self._starts = disk_arrays.Integers(), disk_arrays.Integers()
    self._lengths, self._faults = disk_arrays.Integers(), {}
    for number, name in enumerate(self._names):
      for start, length in self._parts(number, folder / name):
        self._files.append(number)
        self._starts.append(start)
        self._lengths.append(length)

  def _parts(self, number, path) -> list[tuple[int, int]]:
    """Returns (byte offset, number of bytes) of the texts of a file."""
    try:
      with byte_ranges.opened(path) as file:
        head = text_files.check_beginning(path, file)
        size = len(file.read(_MOST_BYTES + 1))
        if size <= _MOST_BYTES:
          return [(0, size)]
        file.seek(0)
        return list(_paragraphs(file, b'\n' not in head, False))
    except ValueError as error:
      self._faults[number] = error
      return [(0, 0)]

  def __len__(self):
    return len(self._files)

  def place(self, number):
    """See `Rows`."""
    name, start = self._names[self._files[number]], self._starts[number]
    return f'{name} from byte {start}' if start else name

  def read(self, number):
    """See `Rows`."""
    file = self._files[number]
    return self._faults.get(file) or _text(
      self._folder / self._names[file],
      self._starts[number],
      self._lengths[number],
    )


def _text(path, start, length) -> dict:
  """Returns the text at a byte range; other bytes than UTF-8 are surrogates."""
  data = byte_ranges.read(path, start, length)
  return {'text': data.decode('utf-8-sig', 'surrogateescape').strip()}


def _paragraphs(
  file, has_no_line_feed: bool, divided: bool = True
) -> Iterator[tuple[int, int]]:
  """Yields (byte offset, number of bytes) of the texts of an open file.

  Args:
    file: open for reading bytes.
    has_no_line_feed: whether lines end in carriage returns alone.
    divided: whether an empty line ends a text.
  """
  start = length = position = 0
  for line in _lines(file, has_no_line_feed):
    empty = divided and not line.strip()
    if (empty or length > _MOST_BYTES) and length:
      yield start, length
      length = 0
    if not empty:
      start = position if not length else start
      length += len(line)
    position += len(line)
  if length:
    yield start, length


def _lines(file, has_no_line_feed) -> Iterator[bytes]:
  """Yields the lines of a file, long ones in parts that end behind words."""
  for block in file:
    for line in (
      block.splitlines(keepends=True) if has_no_line_feed else [block]
    ):
      start = 0
      while len(line) - start > _MOST_BYTES:
        most = start + _MOST_BYTES
        end = line.rfind(b' ', start, most) + 1
        if end <= start:
          # Not inside a character of several bytes.
          end = next(n for n in range(most, start, -1) if line[n] >> 6 != 2)
        yield line[start:end]
        start = end
      yield line[start:]


class Texts(Sequence):
  """The texts of a source as examples {'text': str} for Grain.

  Args:
    path: a .txt file, a folder of them, a .csv or .tsv table, or JSON records.
    field: field of a record that holds the text; of a conversation in LLaVA's
      form all turns are the text.
    on_error: 'raise', or 'skip' to leave out texts with faults.
    say: receives a line for what is left out.

  Raises:
    ValueError: the source cannot be read, or texts have faults. A single line
      with the first faults and their number.
  """

  def __init__(
    self,
    path: str,
    field: str = 'text',
    on_error: str = 'raise',
    say: Callable[[str], None] = lambda line: None,
  ):
    self._rows, self._field = _open(path, say), field
    if not len(self._rows):
      raise ValueError(f'{path} must hold texts, got none')
    valid, faults, empty = disk_arrays.Integers(), [], []
    for number in range(len(self._rows)):
      try:
        text = self._read(number)
        user_text.check(field, text)
      except ValueError as error:
        faults.append(f'{self._rows.place(number)}: {error}')
        continue
      valid.append(number)
      if not text.strip():
        empty.append(number)
    if empty:
      say(
        f'warning: {path}: {len(empty)} texts are empty, first '
        f'{self._rows.place(empty[0])}'
      )
    try:
      input_faults.raise_or_report(faults, len(valid), on_error, say, path)
    except ValueError as error:
      advice = "; 'on_error': 'skip' in its set leaves them out" * bool(valid)
      if any(_NO_TEXT in fault for fault in faults):
        advice = f'; name the field by the setting field{advice}'
      raise ValueError(f'{error}{advice}') from error
    self._numbers = valid if faults else range(len(self._rows))

  def __len__(self):
    return len(self._numbers)

  def __getitem__(self, index):
    return {'text': self._read(self._numbers[index])}

  def _read(self, number) -> str:
    """Returns a text.

    Raises:
      ValueError: the record is damaged, or has no text.
    """
    record = self._rows.read(number)
    if isinstance(record, ValueError):
      raise record
    text = record
    if isinstance(record, dict):
      if llava.is_record(record) and self._field not in record:
        turns = llava.turns(record['conversations'])
        return '\n'.join(text for turn in turns for text in turn)
      text = tables.value_at(record, self._field)
    if not isinstance(text, str):
      raise ValueError(f'{self._field} {_NO_TEXT} {str(text)[:80]!r}')
    return text


def _open(path: str, say) -> rows.Rows:
  """Returns the rows of a source of texts."""
  where = storage.path(path)
  if storage.is_folder(where):
    images, others = image_listing.list_folder(where)
    names = [name for name in others if name.lower().endswith('.txt')]
    if not names:
      raise ValueError(f'{path} must have .txt files, got none')
    passed = sorted({*images, *others}.difference(names))
    passed += image_listing.unread_links(where)
    if passed:
      say(
        f'{path}: files that are no .txt are left out: {len(passed)}, e.g. '
        f'{passed[0]}'
      )
    return FileRows(where, sorted(names))
  if where.suffix.lower() in ('.txt', '.text', '.md'):
    return ParagraphRows(where)
  return folder_rows.open_table(where)
