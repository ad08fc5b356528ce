"""Writes pairs in the form of HermesFlow's own code: `pair_dpo_data.json`.

The file is a JSON list. A record has the keys KEYS, captions as text and
images as paths of PNG files. The official trainer opens both images of every
record, so only inputs with both pairs are written.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

import numpy as np

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import image_writer
from hermesflow_jax.data import input_set
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage

NAME = 'pair_dpo_data.json'
KEYS = (
  'id',
  'img_path',
  'prompt',
  'caption',
  'caption_win',
  'caption_lose',
  'bert_score_win',
  'bert_score_lose',
  'image_win',
  'image_lose',
  'vqa_score_win',
  'vqa_score_lose',
)
# Inputs whose images are decoded at once.
SHARD = 64
# Folders for generated and real images, beside the file.
_GENERATED, _REAL = 'generated_images', 'initial_images'


def official_fields(records: Sequence[dict]) -> Mapping[str, dict]:
  """Returns the fields that official records copy from their inputs, by id.

  Args:
    records: from `record_files.open_records`.

  Returns:
    `id` (as in the file of inputs), `img_path` and `prompt`, by id. An image
    inside another file is a `StoredImage` in place of its path.
  """
  is_many = len(records) > disk_objects.MOST

  def fields(record):
    path = record['path']
    is_inside = isinstance(path, stored_image.StoredImage)
    if not is_inside:
      path = str(path)
    return {
      'id': record['official_id'],
      # Images inside other files have these open.
      'img_path': None if is_inside and is_many else path,
      'prompt': record['prompt'],
    }

  # Each record is read once, but for images inside other files.
  names = disk_names.Numbers()
  known = disk_objects.Store()
  for record in records:
    names[record['id']] = known.add(fields(record))

  def with_path(number):
    values = known.read(number)
    if values['img_path'] is None:
      return values | {'img_path': records[number]['path']}
    return values

  return disk_names.ByName(
    names, disk_objects.Computed(len(records), with_path)
  )


def write_official(
  folder: pathlib.PurePath,
  inputs: input_set.Inputs,
  pairs: Mapping[str, tuple[pair_selection.Pair, pair_selection.Pair]],
  decode: Callable[[np.ndarray], np.ndarray],
  copied: Mapping[str, dict] | None,
  say: Callable[[str], None],
) -> None:
  """Writes `pair_dpo_data.json` and PNG files, once.

  Images are decoded SHARD inputs at a time. Existing images are not written
  again, and the JSON file comes last, so a stop costs at most a shard. All
  processes of a run call this function; the first writes.

  Args:
    folder: folder for the file and its images, a `storage.path`.
    inputs: N inputs.
    pairs: (caption pair, image pair) by id.
    decode: codes int32[B, I] -> images uint8[B, H, W, 3].
    copied: from `official_fields`; None for inputs that came from no file:
      their real images are decoded and written, too. Images inside other
      files are copied into files of their own.
    say: prints how many records were written.
  """
  done = folder / NAME
  if processes.broadcast_from_first(done.exists):
    return
  complete = disk_arrays.Integers(
    n
    for n, name in enumerate(inputs.ids)
    if not any(pair.dropped for pair in pairs[name])
  )
  for span in shards.shard_slices(len(complete), SHARD):
    _write_images(
      folder, inputs, complete[span], pairs, decode, real=copied is None
    )

  def records():
    for n in complete:
      name = inputs.ids[n]
      fields = (
        None if copied is None else _with_file(folder, name, copied[name])
      )
      yield _record(folder, name, inputs.captions[n], pairs[name], fields)

  # A fault of an image or a score stops all processes.
  processes.on_first_process(
    lambda: output_files.write_json_list(done, records())
  )
  say(
    f'{len(complete)} of {len(inputs)} inputs have both pairs: see {done}, in '
    'the form of the official code'
  )


def _with_file(folder, name, fields) -> dict:
  """Returns the fields of an input; an image inside another file is copied."""
  image = fields['img_path']
  if not isinstance(image, stored_image.StoredImage):
    return fields
  path = folder / _REAL / f'{name}{image.suffix}'
  if not path.exists():
    storage.write(path, image.load())
  return fields | {'img_path': _absolute(path)}


def _record(folder, name, caption, pairs, fields):
  """Returns an input's official record, with KEYS in order."""
  und, gen = pairs
  if fields is None:
    fields = {
      'id': name,
      'prompt': caption,
      'img_path': _absolute(folder / _REAL / f'{name}.png'),
    }
  record = fields | {
    'caption': caption,
    'caption_win': und.win.value,
    'caption_lose': und.lose.value,
    'bert_score_win': und.win.score,
    'bert_score_lose': und.lose.score,
    'image_win': _absolute(folder / _GENERATED / f'{name}_win.png'),
    'image_lose': _absolute(folder / _GENERATED / f'{name}_lose.png'),
    'vqa_score_win': gen.win.score,
    'vqa_score_lose': gen.lose.score,
  }
  return {key: record[key] for key in KEYS}


def _absolute(path: pathlib.PurePath) -> str:
  """Returns a path that holds wherever the official trainer starts."""
  return str(path.resolve() if storage.is_local(path) else path)


def _write_images(folder, inputs, numbers, pairs, decode, real):
  """Decodes and writes missing images for some inputs.

  Args:
    folder: see `write_official`.
    inputs: N inputs.
    numbers: input positions.
    pairs: see `write_official`.
    decode: see `write_official`.
    real: whether the real images are written, too.
  """
  # Path -> (position of the input, codes).
  images = {}
  for n in numbers:
    name = inputs.ids[n]
    _, gen = pairs[name]
    images[folder / _GENERATED / f'{name}_win.png'] = n, gen.win.value
    images[folder / _GENERATED / f'{name}_lose.png'] = n, gen.lose.value
    if real:
      images[folder / _REAL / f'{name}.png'] = n, inputs.codes[n]
  paths = list(images)
  missing = processes.broadcast_from_first(
    lambda: [i for i, path in enumerate(paths) if not path.exists()]
  )
  if not missing:
    return
  paths = [paths[i] for i in missing]
  pixels = decode(
    np.stack([np.asarray(images[path][1], np.int32) for path in paths])
  )
  for path, image in zip(paths, pixels, strict=True):
    n = images[path][0]
    image_writer.save_png(
      path, image, {'id': inputs.ids[n], 'prompt': inputs.captions[n]}
    )
