"""COCO's captions: captions_val2017.json and files of the same form.

The file is an object with `images` (id, file_name) and `annotations` (image_id,
caption), which are joined by the id of the image. Most images have five
captions.
"""

import array
import bisect
import itertools
import pathlib

import numpy as np

from hermesflow_jax.data.sources import json_rows
from hermesflow_jax.data.sources import json_scanner
from hermesflow_jax.data.sources import rows

# How the caption of an image with several captions is chosen.
CHOICES = ('first', 'longest', 'all')
# Values before the list of images, e.g. licenses.
_LOOKED_AT = 1000


def is_file(path: pathlib.PurePath) -> bool:
  """Returns whether a file is an object with COCO's list of images.

  Args:
    path: a JSON file, a `storage.path`.
  """
  try:
    for member in itertools.islice(json_scanner.members(path), _LOOKED_AT):
      if member.key == 'annotations' and member.number is not None:
        return _has(member.value, 'image_id')
      if member.key == 'images' and member.number is not None:
        return _has(member.value, 'file_name') and _has(member.value, 'id')
  except json_scanner.DamageError:
    pass
  return False


def _has(value, field):
  return isinstance(value, dict) and field in value


class CocoRows(rows.Rows):
  """COCO's images with their captions, in the order of the file.

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
    image_ids, owners = array.array('q'), array.array('q')
    try:
      for member in json_scanner.members(path):
        if member.key == 'images' and _has(member.value, 'id'):
          self._add(self._images, image_ids, member, 'id')
        elif member.key == 'annotations' and _has(member.value, 'image_id'):
          self._add(self._captions, owners, member, 'image_id')
    except json_scanner.DamageError as error:
      raise ValueError(
        f'{path} must be COCO JSON, got a damaged file ({error}); copy it again'
      ) from error
    if not self._captions:
      raise ValueError(
        f'{path} must have "annotations" with captions, got none; give '
        'captions_*.json'
      )
    self._join(np.asarray(image_ids), np.asarray(owners))

  def _add(self, index, ids, member, key):
    value = member.value[key]
    if type(value) is not int or not -(2**63) <= value < 2**63:
      raise ValueError(
        f'{self.path}: {member.key}[{member.number}]: {key} must be an integer,'
        f' got {value!r}'
      )
    index.append(member.start, member.length, member.number)
    ids.append(value)

  def _join(self, image_ids, owners):
    """Sorts captions by image, and counts them."""
    order = np.argsort(owners, kind='stable')
    firsts = np.searchsorted(owners[order], image_ids, 'left')
    ends = np.searchsorted(owners[order], image_ids, 'right')
    self._order, self._firsts, self._ends = order, firsts, ends
    self.orphans = len(owners) - int(np.isin(owners, image_ids).sum())
    counts = ends - firsts
    if self._choice != 'all':
      # An image without a caption stays, and is a fault.
      counts = np.ones_like(counts)
    self._numbers = np.concatenate([[0], np.cumsum(counts)])

  def __len__(self):
    return int(self._numbers[-1])

  def _image(self, number):
    """Returns (number of the image, position of the caption)."""
    image = bisect.bisect_right(self._numbers, number) - 1
    return image, number - int(self._numbers[image])

  def place(self, number):
    """See `Rows`."""
    return self._images.place(self._image(number)[0])

  def read(self, number):
    """See `Rows`."""
    image, position = self._image(number)
    record = self._images.read(image)
    if not isinstance(record, dict):
      return record
    span = range(self._firsts[image], self._ends[image])
    if self._choice == 'all':
      span = span[position : position + 1]
    captions = []
    for index in span:
      annotation = self._captions.read(int(self._order[index]))
      if isinstance(annotation, ValueError):
        return annotation
      captions.append(annotation.get('caption'))
    name = record['id']
    return {
      'id': f'{name}-{position}' if self._choice == 'all' else name,
      'img_path': record.get('file_name'),
      'caption': choose_caption(captions, self._choice),
    }


def choose_caption(captions: list, choice: str):
  """Returns a caption of several; None without any.

  Args:
    captions: texts.
    choice: 'first' or 'longest'; of 'all' the list has a single caption.
  """
  if choice == 'longest':
    texts = [text for text in captions if isinstance(text, str)]
    return max(texts, key=len, default=None)
  return captions[0] if captions else None
