"""Encodes record images as codes, and caches the codes."""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import hashlib
import pathlib
import zipfile

import numpy as np

from hermesflow_jax.data import image_folder
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_files
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import npz_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage

# Images that are held in memory together.
CHUNK = 256


def encode_images(
  records: Sequence[dict],
  size: int,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  on_error: str,
  folder: image_folder.ImageFolder,
) -> tuple[np.ndarray, dict[int, str]]:
  """Encodes record images, or reads their codes from the cache.

  Args:
    records: N records with id and path.
    size: side length in pixels.
    unified: an `unified_model.UnifiedModel`; its tokenizer encodes.
    cache: cache folder, a `storage.path`.
    identity: tokenizer identity; another tokenizer has other codes.
    on_error: 'raise' or 'skip', see `record_files.Source`.
    folder: image folder.

  Returns:
    (codes int32[M, I] for the readable images, in order; faults for the other
    N - M images by record index).

  Raises:
    ValueError: an image cannot be read and `on_error` is 'raise'.
  """
  path = cache / f'{_fingerprint(records, size, identity, folder.stamp)}.npz'
  codes, skipped = _read_cache(path)
  if not processes.all_true(codes is not None):
    codes, skipped = None, []
  # Images that were unreadable may be readable now.
  faults = processes.broadcast_from_first(
    lambda: _faults([records[n] for n in skipped], size)
  )
  if codes is None or len(faults) < len(skipped):
    codes, faults_by_index = _encode(records, size, unified, on_error)
    storage.make_folder(cache)
    left_out = np.array(list(faults_by_index), np.int64)
    npz_files.write(path, codes=codes, left_out=left_out)
    return codes, faults_by_index
  return codes, dict(zip(skipped, faults))


def _read_cache(path):
  """Returns (codes, skipped record indices), or (None, [])."""
  try:
    with path.open('rb') as file, zipfile.ZipFile(file) as archive:
      codes = npz_files.read_array(archive, 'codes')
      return codes, npz_files.read_array(archive, 'left_out').tolist()
  except (OSError, *npz_files.DAMAGE):
    return None, []


def _pixels(record: dict, size: int):
  """Returns (pixels uint8[size, size, 3], '') or (None, fault)."""
  try:
    return image_reader.load_image(record['path'], size), ''
  except ValueError as error:
    return None, f'id {record["id"]!r}: {error}'


def _faults(records: Sequence[dict], size: int) -> list[str]:
  """Lists the faults of unreadable images."""
  return [fault for r in records if (fault := _pixels(r, size)[1])]


def _encode(records: Sequence[dict], size, unified, on_error):
  """Returns (codes for readable images, faults by record index)."""
  codes, count, faults = np.zeros((0, 0), int), 0, {}
  for start in range(0, len(records), CHUNK):
    pixels = []
    for number, record in enumerate(records[start : start + CHUNK], start):
      image, fault = _pixels(record, size)
      if not fault:
        pixels.append(image)
      else:
        faults[number] = fault
    # Images behind a fault are only read, to report all faults at once.
    if pixels and not (faults and on_error == 'raise'):
      part = unified.encode(np.stack(pixels))
      if not count:
        codes = disk_arrays.empty((len(records), part.shape[1]), part.dtype)
      codes[count : count + len(part)] = part
      count += len(part)
  if on_error == 'raise':
    input_faults.raise_if_any(list(faults.values()))
  return codes[:count], faults


def _fingerprint(records, size, identity, stamp) -> str:
  """Hashes everything that codes depend on: images, order, tokenizer."""
  lines = [identity, str(size), f'images {image_reader.VERSION}']
  total = hashlib.sha256('\n'.join(lines).encode())
  for record in records:
    total.update(f'\n{record["path"]} {stamp(record["path"])}'.encode())
  return total.hexdigest()[:32]


def load_encoded(
  source: record_files.Source,
  size: int,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  say: Callable[[str], None] = lambda line: None,
  most: int | None = None,
  check: Callable[[dict], None] = lambda record: None,
  pixel_size: int = 0,
) -> Sequence[dict]:
  """Reads records and encodes their images.

  Args:
    source: files.
    size: side length in pixels.
    unified: an `unified_model.UnifiedModel`; its tokenizer encodes.
    cache: folder in which a later call finds the codes, a `storage.path`.
    identity: tokenizer identity; another tokenizer has other codes.
    say: receives a line for each skipped record.
    most: largest number of records, the first by id; None for all.
    check: see `record_files.read_records`.
    pixel_size: side of the images that a model reads as pixels; 0 for none.

  Returns:
    Records with id, caption, tag '', questions, codes int32[I], and their
    position among the records with and without a readable image; sorted by id.
    The texts of many lie in a file, see `disk_objects`.
    With `pixel_size` also `pixels`, a function that reads the image:
    () -> uint8[pixel_size, pixel_size, 3].

  Raises:
    ValueError: see `record_files.read_records` and `image_reader.load_image`.
  """
  examples = record_files.open_records(source, say, check, most)
  count = len(examples) if most is None else min(most, len(examples))
  # Each example is read once, but for images inside other files.
  texts = disk_objects.keep(_texts(examples[n], count) for n in range(count))

  def path_at(n):
    return texts[n]['path'] or examples[n]['path']

  records = disk_objects.Computed(
    count, lambda n: {'id': texts[n]['id'], 'path': path_at(n)}
  )
  codes, faults = encode_images(
    records, size, unified, cache, identity, source.on_error, examples.folder
  )
  input_faults.raise_or_report(
    list(faults.values()), len(codes), source.on_error, say, source.annotations
  )
  places = disk_arrays.Integers(n for n in range(count) if n not in faults)

  def with_codes(n):
    place = places[n]
    record = texts[place] | {'tag': '', 'codes': codes[n], 'position': place}
    del record['path']
    if pixel_size:
      record['pixels'] = lambda: image_reader.load_image(
        path_at(place), pixel_size
      )
    return record

  return disk_objects.few_as_list(
    disk_objects.Computed(len(places), with_codes)
  )


def _texts(example: dict, count: int) -> dict:
  """Returns the fields of an example that its record has, and its path.

  Args:
    example: from `record_files.open_records`.
    count: number of examples; of many the path is None for an image inside
      another file, which has that file open.
  """
  fields = {key: example[key] for key in ('id', 'path', 'caption', 'questions')}
  inside = not isinstance(fields['path'], pathlib.PurePath)
  if inside and count > disk_objects.MOST:
    fields['path'] = None
  return fields


def pixels_field(path: pathlib.PurePath, size: int) -> dict[str, Callable]:
  """Returns the field `pixels` of a record, for a model that reads pixels.

  Args:
    path: image file.
    size: side of the image in pixels; 0 returns {}.
  """
  if not size:
    return {}
  return {'pixels': functools.partial(image_reader.load_image, path, size)}
