"""An unfinished run names its damaged file and what to do, in one line."""

import json
import types

import pytest

from hermesflow_jax.curation import pair_files
from hermesflow_jax.runtime import terminal
from hermesflow_jax.self_play import curation_phase
from hermesflow_jax.self_play import evaluation_phase

SCORES = {
  f'{name}{suffix}': 0.5
  for name in ('understanding', 'generation', 'gap')
  for suffix in ('', '_se')
}
EVALUATION = SCORES | {'unseen': None, 'seconds': {'evaluation': 1.0}}
CURATION = {'drops': {'caption': {}, 'image': {}}, 'seconds': 1.0}
PAIR = {
  'id': 'a',
  'caption': 'a red cube',
  'caption_win': 'a cube',
  'caption_lose': 'a ball',
  'caption_score_win': 0.5,
  'caption_score_lose': 0.25,
  'caption_dropped': '',
  'codes_win': [1, 2],
  'codes_lose': [3, 4],
  'vqa_score_win': 1.0,
  'vqa_score_lose': 0,
  'image_dropped': 'weak',
}


def damages(record, **values):
  """Texts of a damaged file: cut, zeros, other types, other values."""
  text = json.dumps(record)
  yield from ('', text[:-9], '\0' * len(text), text[:9] + '\0' * 9)
  yield from ('3', 'null', '[]', '"a"', '[' * 99_999)
  yield from (text.replace('"', "'"), '\udcff' + text)
  for key in record:
    if key not in ('unseen', 'caption'):
      yield json.dumps({k: v for k, v in record.items() if k != key})
  for key, value in values.items():
    for item in value:
      yield json.dumps(record | {key: item})


def write(path, text):
  path.write_bytes(text.encode('utf-8', 'surrogateescape'))


def refused(path, read):
  """Checks the line of an error."""
  with pytest.raises(ValueError) as error:
    read()
  (line,) = str(error.value).splitlines()
  assert line.startswith(f'{path} is damaged (')
  assert line.endswith('remove it, and the same command makes it again')
  assert len(line) < 300


def evaluate(folder):
  data = types.SimpleNamespace(
    unseen=None,
    input_captions=set(),
    held_out=types.SimpleNamespace(captions=[]),
  )
  return evaluation_phase.evaluate(
    None, data, None, folder, terminal.silent(), False
  )


def curate(folder, ids=('a',)):
  return curation_phase.curate(
    types.SimpleNamespace(
      folder=folder,
      console=terminal.silent(),
      inputs=types.SimpleNamespace(ids=list(ids)),
      data=types.SimpleNamespace(publish=None),
    )
  )


def test_a_damaged_evaluation_is_named(tmp_path):
  path = tmp_path / 'evaluation.json'
  for text in damages(
    EVALUATION,
    unseen=[3, 'a', [], {}, SCORES | {'gap_se': None}],
    gap=['0.5', None, True, []],
    seconds=[1.0, None, {}, {'evaluation': '1'}],
  ):
    write(path, text)
    refused(path, lambda: evaluate(tmp_path))
  write(path, json.dumps(EVALUATION))
  assert evaluate(tmp_path)['gap'] == 0.5


def test_damaged_files_of_a_curation_are_named(tmp_path):
  record, pairs = tmp_path / 'curation.json', tmp_path / 'pairs.jsonl'
  write(pairs, json.dumps(PAIR) + '\n')
  for text in damages(CURATION, drops=[3, []], seconds=['1', None, {}]):
    write(record, text)
    refused(record, lambda: curate(tmp_path))
  write(record, json.dumps(CURATION))
  for text in damages(
    PAIR,
    id=[[], {}, 'b'],
    caption_win=[3, None, []],
    caption_score_lose=['0.5', None],
    codes_win=['12', [1.5, 2], [[1, 2]], [True, False], None, [1], [1, 2**40]],
    image_dropped=[None, 0],
  ):
    write(pairs, text)
    refused(pairs, lambda: curate(tmp_path))
  write(pairs, json.dumps(PAIR) + '\n')
  assert curate(tmp_path)[1] == CURATION
  # Cut between two lines.
  refused(pairs, lambda: curate(tmp_path, ('a', 'b')))


def test_pairs_are_read_as_they_were_written(tmp_path):
  write(tmp_path / 'pairs.jsonl', json.dumps(PAIR) + '\n')
  pairs = pair_files.read_pairs(tmp_path)['a']
  assert pair_files.pair_to_record('a', PAIR['caption'], pairs) == PAIR
