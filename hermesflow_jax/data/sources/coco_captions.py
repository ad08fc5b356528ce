"""COCO's captions: captions_val2017.json and files of the same form.

The file is an object with `images` (id, file_name) and `annotations` (image_id,
caption), which are joined by the id of the image. Most images have five
captions.
"""

import bisect
import itertools
import pathlib

import numpy as np

from hermesflow_jax.data.sources import json_rows
from hermesflow_jax.data.sources import json_scanner
from hermesflow_jax.data.sources import rows
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import user_text

# How the caption of an image with several captions is chosen.
CHOICES = ('first', 'longest', 'all')
# Values before the list of images, e.g. licenses.
_LOOKED_AT = 1000


def is_file(path: pathlib.PurePath) -> bool:
  """Returns whether a file is an object with COCO's list of images.

  Args:
    path: a JSON file, a `storage.path`.
  """
  empty = set()
  try:
    for member in itertools.islice(json_scanner.members(path), _LOOKED_AT):
      if member.number == json_scanner.EMPTY:
        empty.add(member.key)
      if empty >= {'images', 'annotations'}:
        return True
      if member.key == 'annotations' and _has(member.value, 'image_id'):
        return True
      image = member.value if member.key == 'images' else None
      if _has(image, 'file_name') and 'id' in image:
        return True
  except json_scanner.DamageError:
    pass
  return False


def _has(value, field):
  return isinstance(value, dict) and field in value


def _is_id(value) -> bool:
  return type(value) is int and -(2**63) <= value < 2**63


def _is_caption(value) -> bool:
  return isinstance(value, str) and bool(value.strip())


class CocoRows(rows.Rows):
  """COCO's images with their captions, in the order of the file.

  Behind them stand the rows that belong to no image, each of which is a fault:
  images and captions without an id, captions of unknown images, and captions
  without text that no image takes.

  Args:
    path: file, a `storage.path`.
    choice: which caption an image has, of CHOICES; 'all' has a record for each
      caption, with the id <image id>-<position>.

  Raises:
    ValueError: the file is damaged, or lacks captions.
  """

  form = 'coco'

  def __init__(self, path: pathlib.PurePath, choice: str):
    self.path, self._choice = path, choice
    # Byte ranges of images, and of captions sorted by image.
    self._images = json_rows.JsonRows(path, 'images[{line}]')
    self._captions = json_rows.JsonRows(path, 'annotations[{line}]')
    # Rows without an id.
    self._broken_images = json_rows.JsonRows(path, 'images[{line}]')
    self._broken_captions = json_rows.JsonRows(path, 'annotations[{line}]')
    image_ids, owners = disk_arrays.Integers(), disk_arrays.Integers()
    # Ids of the captions, -1 for none.
    names = disk_arrays.Integers()
    # Captions without text.
    empty, has_captions = disk_arrays.Integers(), False
    try:
      for member in json_scanner.members(path):
        if member.number in (None, json_scanner.EMPTY):
          continue
        if member.key == 'images':
          self._add(self._images, self._broken_images, image_ids, member, 'id')
        elif member.key == 'annotations':
          has_captions |= _has(member.value, 'caption')
          if self._add(
            self._captions, self._broken_captions, owners, member, 'image_id'
          ):
            name = member.value.get('id')
            names.append(name if _is_id(name) else -1)
            if not _is_caption(member.value.get('caption')):
              empty.append(len(owners) - 1)
    except json_scanner.FormError as error:
      raise ValueError(
        f'{path} must be an object with "images" and "annotations" for the '
        f'form coco, got another form ({error}); leave form=coco out, and the '
        'form is recognized'
      ) from error
    except json_scanner.DamageError as error:
      raise ValueError(
        f'{path} must be COCO JSON, got a damaged file ({error}); copy it again'
      ) from error
    if not has_captions:
      raise ValueError(
        f'{path} must have "annotations" with captions, got none; give '
        'captions_*.json'
      )
    self._repeats = {}
    if choice == 'all':
      self._repeats = _repeats(owners.array, names.array)
    self._join(image_ids.array, owners.array, empty.array)

  def _add(self, index, broken, ids, member, key) -> bool:
    """Adds a row to an index by its id, or to the rows without an id."""
    value = member.value
    valid = isinstance(value, dict) and _is_id(value.get(key))
    (index if valid else broken).append(
      member.start, member.length, member.number
    )
    if valid:
      ids.append(value[key])
    return valid

  def _join(self, image_ids, owners, empty):
    """Sorts captions by image, and counts them."""
    order = np.argsort(owners, kind='stable')
    firsts = np.searchsorted(owners[order], image_ids, 'left')
    ends = np.searchsorted(owners[order], image_ids, 'right')
    self._order, self._firsts, self._ends = order, firsts, ends
    unknown = np.flatnonzero(~np.isin(owners, image_ids))
    self.orphans = len(unknown)
    counts = ends - firsts
    unused = np.setdiff1d(empty, self._taken(owners, empty))
    # Captions that are faults apart from their image.
    self._left_over = np.union1d(unknown, unused)
    # An image without a caption stays, and is a fault.
    counts = (
      np.maximum(counts, 1) if self._choice == 'all' else np.ones_like(counts)
    )
    self._numbers = np.concatenate([[0], np.cumsum(counts)])
    self.unowned = (
      len(self._broken_images)
      + len(self._broken_captions)
      + len(self._left_over)
    )

  def _taken(self, owners, empty):
    """Returns the empty captions that are the caption of their image."""
    if self._choice == 'all':
      return empty
    if self._choice == 'first':
      starts = np.searchsorted(owners[self._order], owners[empty], 'left')
      return empty[self._order[starts] == empty]
    names, counts = np.unique(owners, return_counts=True)
    without, missing = np.unique(owners[empty], return_counts=True)
    lacking = without[counts[np.searchsorted(names, without)] == missing]
    return empty[np.isin(owners[empty], lacking)]

  def __len__(self):
    return int(self._numbers[-1]) + self.unowned

  def _faulty_row(self, number):
    """Returns (rows, position) of a fault; None for the record of an image."""
    number -= int(self._numbers[-1])
    if number < 0:
      return None
    for index in (self._broken_images, self._broken_captions):
      if number < len(index):
        return index, number
      number -= len(index)
    return self._captions, int(self._left_over[number])

  def _image(self, number):
    """Returns (number of the image, position of the caption)."""
    image = bisect.bisect_right(self._numbers, number) - 1
    return image, number - int(self._numbers[image])

  def place(self, number):
    """See `Rows`."""
    faulty = self._faulty_row(number)
    if faulty:
      index, position = faulty
      return index.place(position)
    return self._images.place(self._image(number)[0])

  def read(self, number):
    """See `Rows`."""
    faulty = self._faulty_row(number)
    if faulty:
      index, position = faulty
      key = 'id' if index is self._broken_images else 'image_id'
      return _fault(index.read(position), key)
    image, position = self._image(number)
    record = self._images.read(image)
    if not isinstance(record, dict):
      return record
    span = range(self._firsts[image], self._ends[image])
    if self._choice == 'all':
      span = span[position : position + 1]
    captions = []
    for index in map(int, self._order[span.start : span.stop]):
      annotation = self._captions.read(index)
      if isinstance(annotation, ValueError):
        return annotation
      first = self._repeats.get(index)
      if first is not None and annotation == self._captions.read(first):
        return ValueError(
          f'{self._captions.place(index)} must be a new caption, got '
          f'{self._captions.place(first)} again'
        )
      captions.append(annotation.get('caption'))
    name = record['id']
    return {
      'id': f'{name}-{position}' if self._choice == 'all' else name,
      'img_path': record.get('file_name'),
      'caption': choose_caption(captions, self._choice),
    }


def _repeats(owners: np.ndarray, names: np.ndarray) -> dict[int, int]:
  """Returns the first caption by the number of each that has its ids.

  Args:
    owners: int64[N], ids of images.
    names: int64[N], ids of captions; -1 for none.
  """
  order = np.lexsort((names, owners))
  owners, names = owners[order], names[order]
  same = (owners[1:] == owners[:-1]) & (names[1:] == names[:-1])
  is_new = np.concatenate([[True], ~(same & (names[1:] >= 0))])[: len(order)]
  firsts = order[np.flatnonzero(is_new)[np.cumsum(is_new) - 1]]
  repeats = zip(order[~is_new], firsts[~is_new])
  return {int(number): int(first) for number, first in repeats}


def _fault(row, key) -> ValueError:
  """Returns the fault of an image or a caption that belongs to no image."""
  if isinstance(row, ValueError):
    return row
  if not isinstance(row, dict):
    return ValueError(
      f'a row must be a JSON object, got {user_text.quote(row)}'
    )
  if not _is_id(row.get(key)):
    return ValueError(
      f'{key} must be an integer, got {user_text.quote(row.get(key))}'
    )
  if not _is_caption(row.get('caption')):
    return ValueError(
      f'caption must be text, got {user_text.quote(row.get("caption"))}'
    )
  return ValueError(
    f'{key} must be the id of an image in the file, got {row[key]}'
  )


def choose_caption(captions: list, choice: str):
  """Returns a caption of several; None without any.

  Args:
    captions: texts.
    choice: 'first' or 'longest'; of 'all' the list has a single caption.
  """
  if choice == 'longest':
    texts = [text for text in captions if isinstance(text, str)]
    return max(texts, key=lambda text: len(text.strip()), default=None)
  return captions[0] if captions else None
