"""Preference pairs as JSON lines: `pairs.jsonl`."""

from collections.abc import Iterator
from collections.abc import Mapping
import json
import pathlib

import numpy as np

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage


def pair_to_record(
  name: str,
  caption: str,
  pairs: tuple[pair_selection.Pair, pair_selection.Pair],
) -> dict:
  """Returns an input's pairs as a JSON object.

  Args:
    name: input id.
    caption: true caption.
    pairs: (caption pair, image pair).
  """
  und, gen = pairs
  return {
    'id': name,
    'caption': caption,
    'caption_win': und.win.value,
    'caption_lose': und.lose.value,
    'caption_score_win': und.win.score,
    'caption_score_lose': und.lose.score,
    'caption_dropped': und.dropped,
    'codes_win': np.asarray(gen.win.value).tolist(),
    'codes_lose': np.asarray(gen.lose.value).tolist(),
    'vqa_score_win': gen.win.score,
    'vqa_score_lose': gen.lose.score,
    'image_dropped': gen.dropped,
  }


def pair_from_record(
  row: dict,
) -> tuple[pair_selection.Pair, pair_selection.Pair]:
  """Returns (caption pair, image pair) from a JSON object.

  Args:
    row: from `pair_to_record`.

  Raises:
    TypeError: a value has another type.
  """

  def text(name):
    if not isinstance(row[name], str):
      raise TypeError(f'{name} must be a text, got {str(row[name])[:40]}')
    return row[name]

  def score(name):
    if not output_files.is_number(row[name]):
      raise TypeError(f'{name} must be a number, got {str(row[name])[:40]}')
    return row[name]

  def codes(name):
    values = row[name]
    if not isinstance(values, list) or not all(type(v) is int for v in values):
      raise TypeError(f'{name} must be integers, got {str(values)[:40]}')
    return np.array(values, np.int32)

  und = pair_selection.Pair(
    pair_selection.ScoredCandidate(
      text('caption_win'), score('caption_score_win')
    ),
    pair_selection.ScoredCandidate(
      text('caption_lose'), score('caption_score_lose')
    ),
    text('caption_dropped'),
  )
  gen = pair_selection.Pair(
    pair_selection.ScoredCandidate(codes('codes_win'), score('vqa_score_win')),
    pair_selection.ScoredCandidate(
      codes('codes_lose'), score('vqa_score_lose')
    ),
    text('image_dropped'),
  )
  return und, gen


def drop_counts(
  pairs: Mapping[str, tuple[pair_selection.Pair, pair_selection.Pair]],
) -> dict[str, dict[str, int]]:
  """Counts pairs by reason to drop them.

  Args:
    pairs: (caption pair, image pair) by id.

  Returns:
    For 'caption' and 'image': pairs by reason, 'kept' for those without.
  """
  counts = {'caption': {}, 'image': {}}
  for und, gen in pairs.values():
    for kind, pair in (('caption', und), ('image', gen)):
      reason = pair.dropped or 'kept'
      counts[kind][reason] = counts[kind].get(reason, 0) + 1
  return counts


def read_rows(folder: str | pathlib.PurePath) -> Iterator[dict]:
  """Yields the JSON objects of `pairs.jsonl`, see `pair_to_record`.

  Args:
    folder: has `pairs.jsonl`.

  Raises:
    ValueError: a line is not JSON.
  """
  with storage.open_text(storage.path(folder) / 'pairs.jsonl') as file:
    for line in file:
      yield json.loads(line)


def read_pairs(
  folder: str | pathlib.PurePath,
) -> Mapping[str, tuple[pair_selection.Pair, pair_selection.Pair]]:
  """Reads (caption pair, image pair) by id.

  Many pairs lie in a temporary file, see `disk_objects`.

  Args:
    folder: has `pairs.jsonl`.

  Raises:
    ValueError: the file is damaged.
  """
  path = storage.path(folder) / 'pairs.jsonl'
  try:
    return disk_names.keep_by_name(_pairs_by_id(folder))
  except KeyError as error:
    raise output_files.damaged(path, f'a line has no {error}') from error
  except (ValueError, TypeError, OverflowError, RecursionError) as error:
    raise output_files.damaged(path, error) from error


def _pairs_by_id(folder):
  first = None
  for row in read_rows(folder):
    und, gen = pair_from_record(row)
    shape = gen.win.value.shape
    first = first or shape
    if (shape, gen.lose.value.shape) != (first, first):
      raise ValueError('images have several lengths')
    yield row['id'], (und, gen)
