"""Random access to the unchecked records of a data set."""

import abc
from collections.abc import Sequence


class Rows(abc.ABC):
  """Records in our field names, read from an index of their places.

  The fields of a record: `id`; `img_path`, or `image_file` for an image inside
  another file (`stored_image.StoredImage`); `caption`; and where the data set
  has them `prompt`, `questions` and `conversations`.

  Attributes:
    form: name of the form, a key of `forms.FORMS`.
    folder: folder that image paths are relative to if the user names none; ''
      where only the user knows.
    orphans: number of captions whose image the data set lacks.
    orphan_files: the first text files among these captions.
    unowned: number of records at the end that are faults of the file and belong
      to no image.
    has_repeated_ids: whether records may have the same id, as in LLaVA's files.
  """

  form = 'records'
  folder = ''
  orphans = 0
  orphan_files: Sequence[str] = ()
  unowned = 0
  has_repeated_ids = False

  @abc.abstractmethod
  def __len__(self) -> int:
    """Returns the number of records."""

  @abc.abstractmethod
  def place(self, number: int) -> str:
    """Returns where a record stands, for messages, e.g. 'line 3'."""

  @abc.abstractmethod
  def read(self, number: int) -> object:
    """Returns a record, or the ValueError that stands for a damaged record."""


class MemoryRows(Rows):
  """Records in memory, of small or damaged files.

  Args:
    values: (place, record) of each record.
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
