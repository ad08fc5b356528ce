"""Records of a TFDS dataset by name, or by the folder that holds it.

The dataset must be prepared as array_record, which is read at random and needs
no TensorFlow.
"""

import contextlib
import functools
import io

import numpy as np
from PIL import Image

from hermesflow_jax.data.sources import coco_captions
from hermesflow_jax.data.sources import record_names
from hermesflow_jax.data.sources import rows
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.data.sources import tables
from hermesflow_jax.runtime import storage

PREFIX = 'tfds:'
# Features that hold the parts of a record if no setting names them.
_DEFAULTS = {
  'image': ('image',),
  'caption': ('caption', 'captions/text', 'text', 'captions', 'description'),
  'id': ('id', 'image/id', 'image_id', 'image/filename', 'filename'),
}


def is_dataset(name: str) -> bool:
  """Returns whether a setting names a dataset: 'tfds:<name>' or its folder."""
  if name.startswith(PREFIX):
    return True
  path = storage.path(_place_and_split(name)[0])
  return storage.is_file(path / 'dataset_info.json') and (
    storage.is_file(path / 'features.json')
  )


def _place_and_split(name) -> tuple[str, str]:
  """Returns (dataset or folder, split or '') of a setting."""
  place, mark, split = name.rpartition('@')
  # A folder on the way may have the sign in its name.
  return (place, split) if mark and '/' not in split else (name, '')


class TfdsRows(rows.Rows):
  """Records of a prepared dataset.

  Args:
    name: 'tfds:<name>[/<config>][:<version>]', then optionally '@<split>'; or
      the folder of a prepared dataset, then optionally '@<split>'.
    data_dir: folder of all datasets; '' for TFDS's default.
    fields: feature by our name, e.g. {'caption': 'captions/text'}.
    choice: which of several captions is taken, see `coco_captions.CHOICES`.

  Raises:
    ValueError: the dataset, the split or a feature does not exist.
  """

  form = 'tfds'

  def __init__(
    self, name: str, data_dir: str, fields: dict[str, str], choice: str
  ):
    if choice == 'all':
      raise ValueError(
        "caption_choice must be 'first' or 'longest' for a TFDS dataset, got "
        "'all'"
      )
    self._choice = choice
    place, split = _place_and_split(name)
    self._place = place
    builder = _builder(place, data_dir)
    splits = list(builder.info.splits)
    self._split = split or (splits[0] if len(splits) == 1 else 'train')
    if self._split.partition('[')[0] not in splits:
      raise ValueError(
        f'annotations must name a split of {place}, got {self._split!r}; write '
        f'{place}@{splits[0] if splits else "<split>"} (splits: '
        f'{", ".join(splits) or "none"})'
      )
    self._fields = _features(place, builder.info.features, fields)
    self._source = _data_source(builder, self._split, self._fields['image'])
    self._stamp = f'{builder.info.full_name} {builder.info.splits[splits[0]]}'

  def __len__(self):
    return len(self._source)

  def place(self, number):
    """See `Rows`."""
    return f'{self._split}[{number}]'

  def read(self, number):
    """See `Rows`."""
    try:
      record = self._example(number)
    except ValueError as error:
      return error
    values = {
      ours: _plain(tables.value_at(record, theirs))
      for ours, theirs in self._fields.items()
      if ours != 'image'
    }
    caption = values.get('caption')
    if isinstance(caption, list):
      caption = coco_captions.choose_caption(caption, self._choice)
    name = values.get('id')
    name = str(number) if name is None else str(name)
    return values | {
      'id': record_names.id_of(name),
      'caption': caption,
      'image_file': stored_image.StoredImage(
        f'{self._place}/{self._split}[{number}]',
        functools.partial(self._image, number),
        f'{self._stamp} {number}',
      ),
    }

  def _image(self, number) -> bytes:
    """Returns the bytes of an image file; pixels become a PNG file.

    Raises:
      ValueError: the feature holds something else, or the file is damaged.
    """
    name = self._fields['image']
    value = tables.value_at(self._example(number), name)
    if isinstance(value, bytes):
      return value
    buffer = io.BytesIO()
    try:
      pixels = np.asarray(value)
      if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
      Image.fromarray(pixels).save(buffer, 'PNG')
    except (TypeError, ValueError, OSError, SystemError) as error:
      kind = type(value).__name__
      if isinstance(value, np.ndarray):
        kind = f'{value.dtype}{list(value.shape)}'
      raise ValueError(
        f'the feature {name} must be an image, got {kind}; name the image by '
        'fields=image=<feature>'
      ) from error
    return buffer.getvalue()

  def _example(self, number) -> dict:
    """Returns an example of the dataset.

    Raises:
      ValueError: its bytes are damaged.
    """
    try:
      return self._source[number]
    except Exception as error:
      reason = str(error).strip().split('\n')[0] or type(error).__name__
      raise ValueError(
        f'a record must be readable, got damage ({reason}); prepare the '
        'dataset again'
      ) from error


def _builder(place, data_dir):
  """Returns the builder of a prepared dataset.

  Raises:
    ValueError: the dataset is not known, not prepared, or not readable.
  """
  # Imported where needed: it takes seconds.
  import tensorflow_datasets as tfds

  try:
    # TFDS prints what it looks for.
    with contextlib.redirect_stdout(io.StringIO()):
      if place.startswith(PREFIX):
        name = place.removeprefix(PREFIX)
        builder = tfds.builder(name, data_dir=data_dir or None, try_gcs=False)
      else:
        builder = tfds.builder_from_directory(place)
  except Exception as error:
    reason = str(error).strip().split('\n')[0].rstrip('.')
    raise ValueError(
      f'annotations must name a TFDS dataset, got {place}: {reason}; give '
      'tfds:<name> with its data_dir as images, or the folder with '
      'dataset_info.json'
    ) from error
  if not builder.info.splits:
    raise ValueError(
      f'annotations must name a prepared TFDS dataset, got {place} without '
      'splits; prepare it by `tfds build --file_format=array_record`, and give '
      'its data_dir as images'
    )
  return builder


def _features(place, features, fields) -> dict[str, str]:
  """Returns the feature by our name.

  Raises:
    ValueError: a feature does not exist, or none holds images or captions.
  """
  chosen, faults = dict(fields), []
  for ours, names in _DEFAULTS.items():
    chosen.setdefault(ours, next((n for n in names if _has(features, n)), None))
  for ours, name in chosen.items():
    if (name is None and ours != 'id') or (
      name is not None and not _has(features, name)
    ):
      faults.append(f'{ours}={name}' if name else ours)
  if faults:
    raise ValueError(
      f'fields must name features of {place}, got none for '
      f'{", ".join(faults)}; the features are '
      f'{", ".join(_parts(features)) or "without names"}: write '
      'e.g. fields=image=image,caption=captions/text'
    )
  return {ours: name for ours, name in chosen.items() if name}


def _has(features, name) -> bool:
  """Returns whether a feature exists; parts of nested features have slashes."""
  inner = _parts(features)
  parts = name.split('/')
  return name in inner or any(
    _has(inner['/'.join(parts[:end])], '/'.join(parts[end:]))
    for end in range(len(parts) - 1, 0, -1)
    if '/'.join(parts[:end]) in inner
  )


def _parts(features) -> dict:
  """Returns the features inside a feature by name; {} if they have no names."""
  # Sequences hold a feature.
  while hasattr(features, 'feature'):
    features = features.feature
  return dict(features.items()) if hasattr(features, 'items') else {}


def _data_source(builder, split, image):
  """Returns the records at random; images stay encoded."""
  import tensorflow_datasets as tfds

  decoders, features = None, _parts(builder.info.features)
  if image in features and isinstance(features[image], tfds.features.Image):
    decoders = {image: tfds.decode.SkipDecoding()}
  try:
    return builder.as_data_source(split, decoders=decoders)
  except Exception as error:
    reason = str(error).strip().split('\n')[0].rstrip('.')
    raise ValueError(
      f'annotations must name a dataset in array_record, got '
      f'{builder.info.full_name}: {reason}; prepare it by `tfds build '
      '--file_format=array_record`'
    ) from error


def _plain(value):
  """Returns a value of TFDS as texts, numbers and lists."""
  if isinstance(value, bytes):
    return value.decode('utf-8', 'surrogateescape')
  if isinstance(value, (np.ndarray, np.generic)):
    return _plain(value.tolist())
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  if isinstance(value, dict):
    return {key: _plain(item) for key, item in value.items()}
  return value
