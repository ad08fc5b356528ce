"""Webdataset shards: tar archives whose files with one key form a record.

The key is the path up to the first dot of the file name: 000/a.jpg, 000/a.txt
and 000/a.json belong together and stand side by side. The caption is the text
file, or a field of the JSON file, which may also hold `prompt`, `questions` and
`conversations`.
"""

import bisect
from collections.abc import Sequence
import functools
import itertools
import pathlib

from hermesflow_jax.data.sources import byte_ranges
from hermesflow_jax.data.sources import folder_rows
from hermesflow_jax.data.sources import record_names
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.data.sources import tar_members
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import strict_json

# Extensions of the parts of a record, in order of preference.
_IMAGES = ('png', 'jpg', 'jpeg', 'webp')
_TEXTS = ('txt', 'text', 'caption', 'cap')
_JSON = ('json',)
# Fields of the JSON file that a record keeps.
_KEPT = ('prompt', 'questions', 'conversations')
# Files of no record that a message names.
_NAMED = 3


class WebdatasetRows(rows.Rows):
  """Records of tar shards by the byte offsets of their files.

  Args:
    paths: shards.
    unread: names beside the shards that are passed over.

  Raises:
    ValueError: a shard cannot be read; all such shards are named.
  """

  form = 'webdataset'

  def __init__(
    self, paths: Sequence[pathlib.PurePath], unread: Sequence[str] = ()
  ):
    self._paths = list(paths)
    self.unread, self.unread_files = len(unread), list(unread[:_NAMED])
    # First record of each shard.
    self._firsts = disk_arrays.Integers()
    self._keys = disk_objects.Store()
    # Start and length of the image, the text and the JSON of each record; 0
    # for none. A header comes first, so nothing starts at 0.
    self._parts = disk_arrays.Integers()
    # Number of the image's extension; -1 for a record without an image.
    self._suffixes = disk_arrays.Integers()
    faults = []
    for path in self._paths:
      self._firsts.append(len(self._keys))
      try:
        self._index(path)
      except ValueError as error:
        faults.append(str(error))
    if faults:
      raise ValueError('; '.join(faults[:10]))
    self._stamps = [storage.version_stamp(path) for path in self._paths]

  def _index(self, path):
    """Adds the records of a shard."""
    for key, files in itertools.groupby(
      tar_members.members(path), lambda member: _split(member.name)[0]
    ):
      files = list(files)
      # Of files with one name the last counts, as in tar.
      by_suffix = {_split(file.name)[1]: file for file in files}
      chosen = [
        next((by_suffix[s] for s in suffixes if s in by_suffix), None)
        for suffixes in (_IMAGES, _TEXTS, _JSON)
      ]
      names = [file.name for file in files]
      if any(chosen):
        suffixes = [_split(name)[1] for name in names]
        names = [
          name for n, name in enumerate(names) if suffixes[n] in suffixes[:n]
        ]
      self.unread += len(names)
      self.unread_files += [
        f'{path.name}/{name}'
        for name in names[: _NAMED - len(self.unread_files)]
      ]
      if not any(chosen):
        continue
      self._keys.add(key)
      image = chosen[0]
      suffix = _split(image.name)[1] if image else ''
      self._suffixes.append(_IMAGES.index(suffix) if image else -1)
      for file in chosen:
        self._parts.extend((file.start, file.length) if file else (0, 0))

  def __len__(self):
    return len(self._keys)

  def _shard(self, number) -> int:
    return bisect.bisect_right(self._firsts, number) - 1

  def place(self, number):
    """See `Rows`."""
    return f'{self._paths[self._shard(number)]}: {self._keys.read(number)}'

  def _part(self, number, part):
    """Returns the bytes of a part of a record; None if it has none."""
    first = 6 * number + 2 * part
    start, length = self._parts[first : first + 2].tolist()
    if not start:
      return None
    return byte_ranges.read(self._paths[self._shard(number)], start, length)

  def read(self, number):
    """See `Rows`."""
    key = self._keys.read(number)
    record = {'id': record_names.id_of(key)}
    data = self._part(number, 2)
    if data is not None:
      try:
        values = strict_json.loads(data, 'the JSON file')
      except ValueError as error:
        return error
      record |= {name: values[name] for name in _KEPT if name in values}
      captions = [n for n in folder_rows.CAPTIONS if n in values]
      if captions:
        record['caption'] = values[captions[0]]
      record = values | record
    text = self._part(number, 1)
    if text is not None:
      record['caption'] = text.decode('utf-8-sig', 'surrogateescape').strip()
    suffix = self._suffixes[number]
    if suffix < 0:
      return ValueError(
        f'a record must have an image ({", ".join(_IMAGES)}), got none'
      )
    record['image_file'] = stored_image.StoredImage(
      f'{self._paths[self._shard(number)]}/{key}.{_IMAGES[suffix]}',
      functools.partial(self._part, number, 0),
      f'{self._stamps[self._shard(number)]} {self._parts[6 * number]}',
    )
    return record


def _split(name: str) -> tuple[str, str]:
  """Returns (key, extension) of a path in a shard."""
  folder, slash, file = name.removeprefix('./').rpartition('/')
  stem, _, suffix = file.partition('.')
  return folder + slash + stem, suffix.lower()
