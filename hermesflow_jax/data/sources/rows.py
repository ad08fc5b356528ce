"""Random access to the unchecked records of a data set."""

import abc
from collections.abc import Callable
from collections.abc import Sequence


class Rows(abc.ABC):
  """Records in our field names, read from an index of their places.

  The fields of a record: `id`; `img_path`, or `image_file` for an image inside
  another file (`stored_image.StoredImage`); `caption`; and where the data set
  has them `prompt`, `questions` and `conversations`.

  Attributes:
    form: a key in `forms.FORMS`.
    folder: folder that image paths are relative to if the user names none; ''
      where only the user knows.
    orphans: captions whose image the data set lacks.
    orphan_files: the first text files among these captions.
    unread: how many files and folders are passed over, because no record
      can have them.
    unread_files: the first of these.
    unlisted: images of the folder that no record names, once all records have
      been read.
    unowned: number of records at the end that are faults of the file and belong
      to no image.
    has_repeated_ids: whether records may have the same id, as in LLaVA's files.
  """

  form = 'records'
  folder = ''
  orphans = 0
  orphan_files: Sequence[str] = ()
  unread = 0
  unread_files: Sequence[str] = ()
  unlisted: Sequence[str] = ()
  unowned = 0
  has_repeated_ids = False

  @abc.abstractmethod
  def __len__(self) -> int:
    """Returns how many records it has."""

  @abc.abstractmethod
  def place(self, number: int) -> str:
    """Returns where a record stands, for messages, e.g. 'line 3'."""

  @abc.abstractmethod
  def read(self, number: int) -> object:
    """Returns a record, or the ValueError that stands for a damaged record."""


def report_unread(data: Rows, origin: str, say: Callable[[str], None]) -> None:
  """Reports files that are passed over, if any, after all records are read.

  Args:
    data: records.
    origin: data set name.
    say: receives the line.
  """
  if data.unread:
    say(
      f'{origin}: files and folders that no record can have are passed over: '
      f'{data.unread}, e.g. {", ".join(data.unread_files)}'
    )
  if unlisted := data.unlisted:
    say(
      f'{origin}: images that no record names are left out: {len(unlisted)}, '
      f'e.g. {unlisted[0]}'
    )


class MemoryRows(Rows):
  """Records in memory, of small or damaged files.

  Args:
    values: (place, record) per record.
  """

  def __init__(self, values):
    self._values = list(values)

  def __len__(self):
    return len(self._values)

  def place(self, number):
    """See `Rows`."""
    return self._values[number][0]

  def read(self, number):
    """See `Rows`."""
    return self._values[number][1]
