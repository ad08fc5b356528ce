"""Pairs in the form of HermesFlow's own code: `pair_dpo_data.json`.

The file is a JSON list; a record has the keys KEYS, captions as text and
images as paths. What is read may also be JSON lines, or records with commas
between them and no list, as the official script writes (`strict_json.records`).
The official trainer opens both images of every record, so only inputs with
both pairs are written.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import json
import math
import pathlib

import numpy as np

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import image_encoding
from hermesflow_jax.data import image_folder
from hermesflow_jax.data import image_writer
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import input_set
from hermesflow_jax.data import record_files
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
# Pairs whose images are decoded at once.
SHARD = 64
# Folders of the images, beside the file.
_DRAWN, _REAL = 'generated_images', 'initial_images'


def known_fields(records: Sequence[dict]) -> dict[str, dict]:
  """Returns what official records repeat of their inputs, by id.

  Args:
    records: of `record_files.read_records`.
  """
  return {
    r['id']: {
      'id': r['official_id'],
      'img_path': str(r['path']),
      'prompt': r['prompt'],
    }
    for r in records
  }


def write_official(
  folder: pathlib.PurePath,
  inputs: input_set.Inputs,
  pairs: Mapping[str, tuple[pair_selection.Pair, pair_selection.Pair]],
  decode: Callable[[np.ndarray], np.ndarray],
  known: Mapping[str, dict] | None,
  say: Callable[[str], None],
) -> None:
  """Writes `pair_dpo_data.json` and PNG files of the images, once.

  Images are decoded SHARD pairs at a time. Those that are there are not made
  again, and the JSON comes last, so a stop costs at most a shard. All
  processes of a run call it; the first writes.

  Args:
    folder: where the file and its images go, a `storage.path`.
    inputs: N inputs.
    pairs: (captions, images) by id.
    decode: codes int32[M, I] -> uint8[M, H, W, 3].
    known: of `known_fields`; None for inputs that came from no file: then the real
      images are decoded and written, too.
    say: hears how many records were written.
  """
  done = folder / NAME
  if processes.broadcast_from_first(done.exists):
    return
  kept = [
    n
    for n, name in enumerate(inputs.ids)
    if not any(pair.dropped for pair in pairs[name])
  ]
  for span in shards.shard_slices(len(kept), SHARD):
    _draw(folder, inputs, kept[span], pairs, decode, real=known is None)
  rows = [
    _row(folder, inputs.ids[n], inputs.captions[n], pairs[inputs.ids[n]], known)
    for n in kept
  ]
  text = json.dumps(rows, ensure_ascii=False, allow_nan=False, indent=4)
  output_files.write_atomically(done, text + '\n')
  say(
    f'{len(rows)} of {len(inputs)} inputs have both pairs: see {done}, in '
    'the form of the official code'
  )


def _row(folder, name, caption, pair, known):
  und, gen = pair
  facts = {
    'id': name,
    'prompt': caption,
    'img_path': _said(folder / _REAL / f'{name}.png'),
  }
  row = (facts if known is None else known[name]) | {
    'caption': caption,
    'caption_win': und.win.value,
    'caption_lose': und.lose.value,
    'bert_score_win': und.win.score,
    'bert_score_lose': und.lose.score,
    'image_win': _said(folder / _DRAWN / f'{name}_win.png'),
    'image_lose': _said(folder / _DRAWN / f'{name}_lose.png'),
    'vqa_score_win': gen.win.score,
    'vqa_score_lose': gen.lose.score,
  }
  return {key: row[key] for key in KEYS}


def _said(path) -> str:
  """A path that holds wherever the official trainer is started."""
  return str(path.resolve() if storage.is_local(path) else path)


def _draw(folder, inputs, numbers, pairs, decode, real):
  """Decodes and writes the images of some inputs that are not there."""
  codes = {}
  for n in numbers:
    name = inputs.ids[n]
    _, gen = pairs[name]
    codes[folder / _DRAWN / f'{name}_win.png'] = n, gen.win.value
    codes[folder / _DRAWN / f'{name}_lose.png'] = n, gen.lose.value
    if real:
      codes[folder / _REAL / f'{name}.png'] = n, inputs.codes[n]
  paths = list(codes)
  missing = processes.broadcast_from_first(
    lambda: [i for i, path in enumerate(paths) if not path.exists()]
  )
  if not missing:
    return
  paths = [paths[i] for i in missing]
  images = decode(
    np.stack([np.asarray(codes[path][1], np.int32) for path in paths])
  )
  for path, image in zip(paths, images, strict=True):
    n = codes[path][0]
    image_writer.save_png(
      path, image, {'id': inputs.ids[n], 'prompt': inputs.captions[n]}
    )


def is_official_file(path: pathlib.PurePath) -> bool:
  """Returns whether `pairs` of a job means a file of this form."""
  return path.suffix.lower() in ('.json', '.jsonl')


def read_official(
  path: pathlib.PurePath,
  images: str,
  on_error: str,
  say: Callable[[str], None] = lambda line: None,
) -> list[dict]:
  """Returns the records of a file, without their images.

  A pair with a missing or null caption, image or score is dropped: the record
  may still teach the other task.

  Args:
    path: of the file, a `storage.path`.
    images: the folder that images lie below, and relative paths start from; ''
      for the file's own, or for absolute paths also that of the process.
    on_error: 'raise', or 'skip' to leave records with faults out and say so.
    say: hears what is left out.

  Returns:
    Records by id: `id`, `caption`, and by side ('win', 'lose') `caption_<side>`
    and `caption_score_<side>`, `vqa_score_<side>`; `path` and `path_<side>` of
    images; `caption_dropped` and `image_dropped`, '' or the reason.

  Raises:
    ValueError: one line with the first faults and their number.
  """
  folder = _folder(path, images)
  faults, records = [], {}
  for place, row in record_files.iterate_values(str(path)):
    try:
      record = _record(row, folder)
      if record['id'] in records:
        raise ValueError(f'id {record["id"]!r} comes twice')
      records[record['id']] = record
    except ValueError as error:
      faults.append(f'{place}: {error}')
  if not records and not faults:
    faults.append('there is no record')
  input_faults.raise_or_report(faults, len(records), on_error, say, str(path))
  return [records[name] for name in sorted(records)]


def _folder(path, images):
  """Where images are looked for: in `images`, or beside the file.

  The files that `write_official` makes name images by absolute paths, the real ones in
  the data of the run: these may lie below the folder that the job started in.
  """
  if images:
    return image_folder.ImageFolder(images)
  return image_folder.ImageFolder(str(path.parent), also='.')


def _record(row, folder):
  record = {
    'id': record_files.get_id(row),
    'caption': record_files.get_text(row, 'caption'),
  }
  record['path'] = folder.find(record_files.get_text(row, 'img_path'))
  captions, images, words, sums = (
    [_optional(row, f'{name}_{side}', kind) for side in ('win', 'lose')]
    for name, kind in (
      ('caption', str),
      ('image', str),
      ('bert_score', float),
      ('vqa_score', float),
    )
  )
  record['caption_dropped'] = _lacks('caption', captions, words)
  record['image_dropped'] = _lacks('image', images, sums)
  for n, side in enumerate(('win', 'lose')):
    # What is dropped is never learned from, and stays encodable.
    dropped = record['caption_dropped']
    record[f'caption_{side}'] = (
      record['caption'] if dropped else captions[n].strip()
    )
    record[f'caption_score_{side}'] = 0.0 if dropped else words[n]
    dropped = record['image_dropped']
    record[f'path_{side}'] = (
      record['path'] if dropped else folder.find(images[n], f'image_{side}')
    )
    record[f'vqa_score_{side}'] = 0.0 if dropped else sums[n]
  return record


def _optional(row, key, kind):
  """A text or a finite number of a record; None where there is none."""
  value = row.get(key)
  if value is None or kind is str:
    return None if value is None else record_files.get_text(row, key)
  if type(value) not in (int, float) or not math.isfinite(value):
    raise ValueError(f'{key} must be a finite number or null, got {value!r}')
  return float(value)


def _lacks(name, values, scores) -> str:
  if None in values:
    return f'no {name}'
  return 'no score' if None in scores else ''


def load_official(
  path: pathlib.PurePath,
  images: str,
  unified,
  cache: pathlib.PurePath,
  identity: str,
  on_error: str,
  say: Callable[[str], None],
) -> list[dict]:
  """Reads and encodes the pairs of a file.

  A pair whose winner does not score more than its loser, or has the same
  codes, is dropped, as in self-play: the official script writes such pairs,
  with images of another input.

  Args:
    path, images, on_error, say: see `read_official`.
    unified: an `unified_model.UnifiedModel`, for its tokenizer.
    cache: a folder for the codes, for a restart.
    identity: of the tokenizer.

  Returns:
    Records for learning, as `pair_dataset.data_source` has them: texts, scores, and
    `codes`, `codes_win`, `codes_lose` int32[I].

  Raises:
    ValueError: see `read_official`; or an image cannot be read.
  """
  records = read_official(path, images, on_error, say)
  folder = _folder(path, images)
  size = unified.grid[0] * unified.tokenizer.reduction
  names = ('path', 'path_win', 'path_lose')
  wanted = [{'id': r['id'], 'path': r[name]} for r in records for name in names]
  codes, faults = image_encoding.encode_images(
    wanted, size, unified, cache, identity, on_error, folder
  )
  broken = {number // len(names) for number in faults}
  input_faults.raise_or_report(
    list(faults.values()), len(records) - len(broken), on_error, say, str(path)
  )
  encoded = dict(
    zip((n for n in range(len(wanted)) if n not in faults), codes, strict=True)
  )
  return [
    _joined(record, *(encoded[number * len(names) + k] for k in range(3)))
    for number, record in enumerate(records)
    if number not in broken
  ]


def _joined(record, codes, win, lose):
  row = {
    name: value for name, value in record.items() if not name.startswith('path')
  } | {'codes': codes, 'codes_win': win, 'codes_lose': lose}
  for kind, values, scores in (
    ('caption', 'caption', 'caption_score'),
    ('image', 'codes', 'vqa_score'),
  ):
    pair = pair_selection.Pair(
      *(
        pair_selection.ScoredCandidate(
          row[f'{values}_{side}'], row[f'{scores}_{side}']
        )
        for side in ('win', 'lose')
      )
    )
    judged = pair_selection.filter_pair(pair, -math.inf, 0.0)
    row[f'{kind}_dropped'] = row[f'{kind}_dropped'] or judged.dropped
  return row
