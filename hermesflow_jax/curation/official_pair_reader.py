"""Reads pairs in the form of HermesFlow's own code: `pair_dpo_data.json`.

The file is a JSON list, or JSON lines, or records with commas between them and
no brackets, as the official script appends them (`strict_json.records`).
"""

import bisect
from collections.abc import Callable
from collections.abc import Sequence
import functools
import math
import pathlib
import sys

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import image_folder
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_values
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import user_text

_SIDES = ('win', 'lose')
# Fields of pairs; a record has at least one of them.
_OF_PAIRS = {
  f'{kind}_{side}' for kind in ('caption', 'image') for side in _SIDES
}
# Fields with the images of a record.
_IMAGES = ('path', 'path_win', 'path_lose')


def is_official_file(path: pathlib.PurePath) -> bool:
  """Returns whether the setting `pairs` names a file of this form."""
  return path.suffix.lower() in ('.json', '.jsonl')


def load_official(
  path: pathlib.PurePath,
  images: str,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  on_error: str,
  say: Callable[[str], None],
  least_win: float = -math.inf,
  pixel_size: int = 0,
) -> Sequence[dict]:
  """Reads the pairs of a file and encodes their images.

  A pair whose winner does not score higher than its loser, or has the same
  content, is dropped, as in self-play: the official script writes such pairs,
  with images of another input.

  Args:
    path: see `read_official`.
    images: see `read_official`.
    unified: a `unified_model.UnifiedModel`; its image tokenizer is used.
    cache: folder that keeps the codes for a restart.
    identity: text that identifies the image tokenizer.
    on_error: see `read_official`.
    say: see `read_official`.
    least_win: a winning image must score more than this.
    pixel_size: see `image_encoding.load_encoded`.

  Returns:
    Records as in `pair_dataset.data_source`: texts, scores, and `codes`,
    `codes_win`, `codes_lose`: int32[I]; with `pixel_size` also `pixels` of the
    real image. Many lie in files, see `disk_objects`.

  Raises:
    ValueError: see `read_official`; or an image cannot be read.
  """
  records = read_official(path, images, on_error, say)
  folder = _image_folder(path, images)
  size = unified.grid[0] * unified.tokenizer.reduction

  def file_at(number):
    record = records[number // len(_IMAGES)]
    return {'id': record['id'], 'path': record[_IMAGES[number % len(_IMAGES)]]}

  files = disk_objects.Computed(len(_IMAGES) * len(records), file_at)
  codes, faults = image_encoding.encode_images(
    files, size, unified, cache, identity, on_error, folder
  )
  broken = {number // len(_IMAGES) for number in faults}
  faulty = sorted(faults)
  input_faults.raise_or_report(
    list(faults.values()), len(records) - len(broken), on_error, say, str(path)
  )
  sound = disk_arrays.Integers(
    number for number in range(len(records)) if number not in broken
  )

  def record_at(n):
    record, first = records[sound[n]], sound[n] * len(_IMAGES)
    # Files with faults have no codes.
    row = first - bisect.bisect_left(faulty, first)
    pixels = image_encoding.pixels_field(record['path'], pixel_size)
    images = codes[row : row + len(_IMAGES)]
    return _with_codes(record, least_win, *images) | pixels

  return disk_objects.few_as_list(disk_objects.Computed(len(sound), record_at))


def read_official(
  path: pathlib.PurePath,
  images: str,
  on_error: str,
  say: Callable[[str], None] = lambda line: None,
) -> Sequence[dict]:
  """Reads the records of a file, without their images.

  A pair with a missing or null caption, image or score is dropped: the record
  may still teach the other task.

  Args:
    path: the file, a `storage.path`.
    images: folder of the images; relative paths start from it and no path may
      leave it. '' for the folder of the file, or for absolute paths also the
      current folder.
    on_error: 'raise', or 'skip' to leave out records with faults.
    say: prints which records are left out.

  Returns:
    Records in the order of their ids: `id`, `caption`, `path` of the real
    image, and for each side ('win', 'lose') `caption_<side>`,
    `caption_score_<side>`, `path_<side>` and `vqa_score_<side>`;
    `caption_dropped` and `image_dropped`, '' or the reason.

  Raises:
    ValueError: records have faults, in one line with the first and their
      number; or no record holds a pair.
  """
  if path.name == 'pairs.jsonl' and (path.parent / 'tfds').exists():
    raise ValueError(
      f'pairs must be the folder of a curation, got its file {path}; give '
      f'{path.parent}'
    )
  folder = _image_folder(path, images)
  faults, count, has_pairs = [], 0, False
  places, records = disk_names.Numbers(), disk_objects.Store()
  images = disk_objects.Store()
  for place, row in record_values.normalized_values(str(path), say):
    count += 1
    has_pairs = (
      has_pairs or not isinstance(row, dict) or bool(_OF_PAIRS & row.keys())
    )
    row_faults = []
    record = input_faults.attempt(row_faults, _parse, row, folder, row_faults)
    if record:
      name = record['id']
      if name in places:
        row_faults.append(f'id {name!r} comes twice')
      for path_of_image in dict.fromkeys(record[field] for field in _IMAGES):
        images.add((f'{place}: id {name!r}', path_of_image))
      if not row_faults:
        places[name] = records.add(record)
    if row_faults:
      faults.append(f'{place}: {"; ".join(row_faults)}')
  if count and not has_pairs:
    raise ValueError(
      f'pairs must be the folder of a curation or a file of pairs, got {path}, '
      f'whose records hold none of {", ".join(sorted(_OF_PAIRS))}; make pairs '
      f'by python main.py --config=configs/curate.py '
      f'--config.files.annotations={path}'
    )
  if on_error == 'raise':
    # With 'skip', encoding reports broken images.
    faults += image_reader.faults_of_all(images.values(), bool(faults))
  if not len(records) and not faults:
    faults.append('there is no record')
  input_faults.raise_or_report(faults, len(records), on_error, say, str(path))
  names = disk_names.in_order(places)
  return disk_objects.few_as_list(
    disk_objects.Computed(len(names), lambda n: records.read(places[names[n]]))
  )


def _image_folder(path, images):
  """Returns the folder of the images: `images`, or the folder of the file.

  `official_pair_writer` names images by absolute paths, and real images are in
  the data of the run: they may lie below the folder that the job started in.
  """
  if images:
    return image_folder.ImageFolder(images)
  return image_folder.ImageFolder(str(path.parent), also='.')


def _parse(row, folder, faults: list[str]) -> dict:
  """Returns a record of `read_official`; a value with a fault is None.

  Args:
    row: a JSON object of the file.
    folder: a `image_folder.ImageFolder`.
    faults: receives all faults of fields and paths.

  Raises:
    ValueError: the record has no id.
  """
  record = {'id': record_values.get_id(row)}
  checked = functools.partial(input_faults.attempt, faults)

  def both_sides(read, key):
    return [checked(read, row, f'{key}_{side}') for side in _SIDES]

  record['caption'] = checked(record_values.get_text, row, 'caption')
  img_path = checked(record_values.get_text, row, 'img_path')
  record['path'] = img_path and checked(folder.find, img_path)
  captions = both_sides(_optional_text, 'caption')
  images = both_sides(_optional_text, 'image')
  caption_scores = both_sides(_optional_score, 'bert_score')
  image_scores = both_sides(_optional_score, 'vqa_score')
  record['caption_dropped'] = _missing('caption', captions, caption_scores)
  record['image_dropped'] = _missing('image', images, image_scores)
  for n, side in enumerate(_SIDES):
    # A dropped pair is not learned from. It takes the true caption or the real
    # image, so that it can be encoded.
    if record['caption_dropped']:
      record[f'caption_{side}'] = record['caption']
      record[f'caption_score_{side}'] = 0.0
    else:
      record[f'caption_{side}'] = captions[n].strip()
      record[f'caption_score_{side}'] = caption_scores[n]
    if record['image_dropped']:
      record[f'path_{side}'] = record['path']
      record[f'vqa_score_{side}'] = 0.0
    else:
      record[f'path_{side}'] = checked(folder.find, images[n], f'image_{side}')
      record[f'vqa_score_{side}'] = image_scores[n]
  return record


def _optional_text(row, key) -> str | None:
  """Returns a text of a record, None if it is missing or null.

  A model may have written an empty caption.
  """
  if row.get(key) is None:
    return None
  if isinstance(row[key], str) and not row[key].strip():
    return ''
  return record_values.get_text(row, key)


def _optional_score(row, key) -> float | None:
  """Returns a finite number of a record, None if it is missing or null."""
  value = row.get(key)
  if value is None:
    return None
  # An integer may be larger than any float.
  if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
    raise ValueError(
      f'{key} must be a finite number or null, got {user_text.quote(value)}'
    )
  return float(value)


def _missing(name, values, scores) -> str:
  """Returns the reason to drop a pair that lacks a value or a score, or ''."""
  if None in values:
    return f'no {name}'
  return 'no score' if None in scores else ''


def _with_codes(record, least_win, codes, codes_win, codes_lose):
  """Returns a record with codes in place of paths, its pairs filtered.

  Args:
    record: from `read_official`.
    least_win: a winning image must score more than this.
    codes: int32[I], real image.
    codes_win: int32[I], winning image.
    codes_lose: int32[I], losing image.
  """
  record = {
    name: value for name, value in record.items() if not name.startswith('path')
  } | {'codes': codes, 'codes_win': codes_win, 'codes_lose': codes_lose}
  for kind, value, score, bound in (
    ('caption', 'caption', 'caption_score', -math.inf),
    ('image', 'codes', 'vqa_score', least_win),
  ):
    win, lose = (
      pair_selection.ScoredCandidate(
        record[f'{value}_{side}'], record[f'{score}_{side}']
      )
      for side in _SIDES
    )
    pair = pair_selection.filter_pair(
      pair_selection.Pair(win, lose), least_win=bound, least_margin=0.0
    )
    record[f'{kind}_dropped'] = record[f'{kind}_dropped'] or pair.dropped
  return record
