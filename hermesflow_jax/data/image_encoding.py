"""Images of records to codes, with a cache."""

from collections.abc import Callable
from collections.abc import Sequence
import hashlib
import io
import pathlib
import zipfile

import numpy as np

from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_files
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage

# Images that are in memory at once.
CHUNK = 256


def encode_images(
  records: Sequence[dict],
  size: int,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  on_error: str,
  folder: record_files.ImageFolder,
) -> tuple[np.ndarray, dict[int, str]]:
  """Encodes images of files; codes are kept in `cache` for a restart.

  Args:
    records: N records with id and path.
    size, unified, cache, identity: see `load_encoded`.
    on_error: see `Source`.
    folder: of the images.

  Returns:
    (codes int32[M, I] of the images that can be read, in order; the faults of
    the N - M others by their number).

  Raises:
    ValueError: an image cannot be read and `on_error` is 'raise'.
  """
  path = cache / f'{_fingerprint(records, size, identity, folder.stamp)}.npz'
  codes, left_out = _cached(path)
  if not processes.all_true(codes is not None):
    codes, left_out = None, []
  # What could not be read then may be there now.
  faults = processes.broadcast_from_first(
    lambda: _faults([records[n] for n in left_out], size)
  )
  if codes is None or len(faults) < len(left_out):
    codes, by_number = _encoded(records, size, unified, on_error)
    storage.make_folder(cache)
    buffer = io.BytesIO()
    np.savez(buffer, codes=codes, left_out=np.array(list(by_number), np.int64))
    output_files.write_atomically(path, buffer.getvalue())
    return codes, by_number
  return codes, dict(zip(left_out, faults))


def _cached(path):
  """(codes, numbers of the records that are left out), or (None, [])."""
  try:
    with np.load(io.BytesIO(path.read_bytes())) as found:
      return found['codes'], found['left_out'].tolist()
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):
    return None, []


def _pixels(record: dict, size: int):
  """(the pixels of a record's image, '') or (None, what is wrong with it)."""
  try:
    return image_reader.load_image(record['path'], size), ''
  except ValueError as error:
    return None, f'id {record["id"]!r}: {error}'


def _faults(records: Sequence[dict], size: int) -> list[str]:
  """What is wrong with the images of these; one for each that is."""
  return [fault for r in records if (fault := _pixels(r, size)[1])]


def _encoded(records: Sequence[dict], size, unified, on_error):
  """(codes of the images that can be read, faults of the others by number)."""
  parts, faults = [], {}
  for start in range(0, len(records), CHUNK):
    pixels = []
    for number, record in enumerate(records[start : start + CHUNK], start):
      image, fault = _pixels(record, size)
      if not fault:
        pixels.append(image)
      elif on_error == 'raise':
        raise ValueError(fault)
      else:
        faults[number] = fault
    if pixels:
      parts.append(unified.encode(np.stack(pixels)))
  return np.concatenate(parts) if parts else np.zeros((0, 0), int), faults


def _fingerprint(records, size, identity, stamp) -> str:
  """Changes with what the codes depend on: images, their order, tokenizer."""
  said = [identity, str(size), f'images {image_reader.VERSION}']
  for record in records:
    said.append(f'{record["path"]} {stamp(record["path"])}')
  return hashlib.sha256('\n'.join(said).encode()).hexdigest()[:32]


def load_encoded(
  source: record_files.Source,
  size: int,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  say: Callable[[str], None] = lambda line: None,
  most: int | None = None,
  check: Callable[[dict], None] = lambda record: None,
) -> list[dict]:
  """Reads and encodes records; codes are kept in `cache` for a restart.

  Args:
    source: the files.
    size: of the square images, in pixels.
    unified: an `unified_model.UnifiedModel`, for its tokenizer.
    cache: a folder, a `storage.path`.
    identity: of the tokenizer, so that its codes are not taken for another's.
    say: hears what is left out.
    most: as many records are encoded, by id; None: all.
    check: see `read`.

  Returns:
    Records with id, caption, tag '', questions and codes int32[I], by id.

  Raises:
    ValueError: see `read` and `image_reader.load_image`.
  """
  records = record_files.read_records(source, say, check)[:most]
  codes, faults = encode_images(
    records,
    size,
    unified,
    cache,
    identity,
    source.on_error,
    record_files.ImageFolder(source.images),
  )
  input_faults.raise_or_report(
    list(faults.values()), len(codes), source.on_error, say, source.annotations
  )
  records = [r for n, r in enumerate(records) if n not in faults]
  return [
    {
      'id': r['id'],
      'caption': r['caption'],
      'tag': '',
      'questions': r['questions'],
      'codes': c,
    }
    for r, c in zip(records, codes, strict=True)
  ]
