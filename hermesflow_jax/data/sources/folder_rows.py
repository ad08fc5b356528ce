"""Folders of images: with a metadata file, or with a text file per image.

The metadata file is Hugging Face's imagefolder: `metadata.jsonl` or
`metadata.csv` with `file_name`, relative to the folder, and columns of any
name. Otherwise the caption of a.png is the text of a.txt.
"""

from collections.abc import Sequence
import pathlib
import posixpath
import re
import threading

from hermesflow_jax.data import image_listing
from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import csv_rows
from hermesflow_jax.data.sources import json_rows
from hermesflow_jax.data.sources import record_names
from hermesflow_jax.data.sources import rows
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text

METADATA = ('metadata.jsonl', 'metadata.csv', 'metadata.tsv')
# Columns that hold captions if no setting names the column; the first counts.
CAPTIONS = ('caption', 'text', 'description')
# Columns that hold no caption.
_NO_CAPTIONS = ('file_name', 'id', 'img_path', 'image')
# Text files without an image that a message names.
_NAMED = 10
# Bytes of the longest caption file.
_MOST_BYTES = 2**16


class MetadataRows(rows.Rows):
  """Rows of a metadata file in our field names.

  Args:
    inner: the rows as the file has them.
    folder: folder that `file_name` is relative to.
  """

  form = 'imagefolder'

  def __init__(self, inner: rows.Rows, folder: pathlib.PurePath):
    self._inner, self.folder = inner, str(folder)
    # Names of images, with 0 each; threads read records at once.
    self._root, self._names = folder, disk_names.Numbers()
    self._lock = threading.Lock()

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
    name = record.get('file_name')
    normal = posixpath.normpath(name) if isinstance(name, str) else ''
    with self._lock:
      self._names.setdefault(normal, 0)
    named = {'img_path': name}
    if isinstance(name, str):
      named['id'] = record_names.id_of(_without_suffix(name) or '?')
    column = next((key for key in CAPTIONS if key in record), None)
    if column:
      named['caption'] = record[column]
    return named | record

  @property
  def unlisted(self):
    """See `Rows`; () for a bucket, where a list costs many requests."""
    if not storage.is_local(self._root):
      return ()
    images, _ = image_listing.list_folder(self._root)
    return [name for name in images if name not in self._names]

  def check_captions(self) -> None:
    """Raises if rows have columns, but none that is known to hold captions.

    Raises:
      ValueError: no row has a column of CAPTIONS.
    """
    # Longest text of each column.
    columns = {}
    for number in range(len(self)):
      record = self._inner.read(number)
      if not isinstance(record, dict):
        continue
      if not {*CAPTIONS, 'conversations'}.isdisjoint(record):
        return
      for name, value in record.items():
        length = len(value) if isinstance(value, str) else 0
        columns[name] = max(columns.get(name, 0), length)
    if not columns:
      return
    others = [name for name in columns if name not in _NO_CAPTIONS]
    remedy = f'add a column {CAPTIONS[0]}'
    if len(columns) == 1 and re.search(r'[;\t|]', next(iter(columns))):
      others, remedy = [], 'separate columns by commas (of a .tsv by tabs)'
    if others:
      # Captions are the longest texts.
      likely = max(others, key=columns.get)
      remedy = f'name the column, e.g. --config.files.fields=caption={likely}'
    raise ValueError(
      f'{self.folder} must have captions in a column {", ".join(CAPTIONS)}, '
      f'got the columns {", ".join(map(user_text.quote, columns))}; {remedy}'
    )


class TextFileRows(rows.Rows):
  """Images with a text file of the same name.

  Args:
    folder: the folder, a `storage.path`.
    names: images, relative to the folder, sorted.
    texts: text files, relative to the folder, sorted.
  """

  form = 'imagefolder'

  def __init__(
    self,
    folder: pathlib.PurePath,
    names: Sequence[str],
    texts: Sequence[str] = (),
  ):
    self._root, self.folder, self._names = folder, str(folder), names
    # Names without suffix, with 0 each.
    stems = disk_names.Numbers()
    # Images that share their name but for the suffix: full names are ids.
    self._repeated = disk_names.Numbers()
    for name in self._names:
      stem = _without_suffix(name)
      (self._repeated if stem in stems else stems)[stem] = 0
    orphans = disk_objects.keep(
      name for name in texts if _without_suffix(name) not in stems
    )
    self.orphans, self.orphan_files = len(orphans), list(orphans[:_NAMED])
    # Text files of names that have one with a suffix like .TXT.
    self._others = {
      _without_suffix(name): [] for name in texts if not name.endswith('.txt')
    }
    for name in texts if self._others else ():
      if _without_suffix(name) in self._others:
        self._others[_without_suffix(name)].append(name)

  def __len__(self):
    return len(self._names)

  def place(self, number):
    """See `Rows`."""
    return self._names[number]

  def read(self, number):
    """See `Rows`."""
    name = self._names[number]
    stem = _without_suffix(name)
    file = self._root / f'{stem}.txt'
    if stem in self._others:
      names = self._others[stem]
      if len(names) > 1:
        return ValueError(
          f'there must be a single caption file, got {", ".join(names)}'
        )
      file = self._root / names[0]
    try:
      with byte_ranges.opened(file) as opened:
        data = opened.read(_MOST_BYTES + 1)
    except ValueError as error:
      if storage.is_file(file):
        return error
      return ValueError(f'there is no caption file {file}')
    if len(data) > _MOST_BYTES:
      return ValueError(f'{file} must have at most {_MOST_BYTES} bytes')
    return {
      'id': record_names.id_of(name if stem in self._repeated else stem),
      'img_path': name,
      'caption': data.decode('utf-8-sig', 'surrogateescape').strip(),
    }


def open_folder(folder: pathlib.PurePath) -> rows.Rows:
  """Returns the records of a folder of images.

  Args:
    folder: the folder, a `storage.path`.

  Raises:
    ValueError: the folder has no image, no metadata file and no text file.
  """
  for name in METADATA:
    if storage.is_file(folder / name):
      return MetadataRows(open_table(folder / name), folder)
  parts = [
    name for name in storage.list_names(folder) for file in METADATA
    if storage.is_file(folder / name / file)
  ]  # fmt: skip
  if parts:
    raise ValueError(
      f'{folder} must have {METADATA[0]}, got it in {", ".join(sorted(parts))}'
      f'; give the folder of one split, e.g. {folder / min(parts)}'
    )
  names, others = image_listing.list_folder(folder)
  texts = disk_objects.keep(
    name for name in others if name.lower().endswith('.txt')
  )
  if not names or not texts:
    raise ValueError(
      f'{folder} must have images with captions, got '
      f'{user_text.counted(len(names), "image")} and '
      f'{user_text.counted(len(texts), "text file")}; write a .txt file beside '
      f'each image, or {METADATA[0]} with "file_name" and "text"'
    )
  records = TextFileRows(folder, names, texts)
  linked = image_listing.unread_links(folder)
  records.unread, records.unread_files = len(linked), linked[:_NAMED]
  return records


def open_table(path: pathlib.PurePath) -> rows.Rows:
  """Returns the rows of a table by its suffix: JSON lines, CSV or TSV.

  Args:
    path: file, a `storage.path`.

  Raises:
    ValueError: the file cannot be read.
  """
  if path.suffix.lower() in ('.csv', '.tsv'):
    return csv_rows.CsvRows(path)
  return json_rows.index_file(path)


def _without_suffix(name: str) -> str:
  suffix = pathlib.PurePosixPath(name).suffix
  return name.removesuffix(suffix)
