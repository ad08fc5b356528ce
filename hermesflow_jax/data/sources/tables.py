"""Records with columns under other names than ours."""

from hermesflow_jax.data.sources import rows


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
    self.unread, self.unread_files = inner.unread, inner.unread_files
    self.unowned = inner.unowned

  @property
  def unlisted(self):
    """See `Rows`."""
    return self._inner.unlisted

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
