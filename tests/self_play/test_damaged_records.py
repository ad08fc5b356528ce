"""An unfinished run names its damaged file and what to do, in one line."""

import json
import types

import pytest

from hermesflow_jax.curation import pair_files
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.jobs.setup import curation_folder
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.reports import run_story
from hermesflow_jax.runtime import terminal
from hermesflow_jax.self_play import curation_phase
from hermesflow_jax.self_play import evaluation_phase
from hermesflow_jax.self_play import run_summary

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
      config=types.SimpleNamespace(
        objective=objective_config.ObjectiveConfig()
      ),
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


def test_damaged_results_are_named_and_made_again(tmp_path):
  path = tmp_path / 'results.json'
  results = {'rounds': [EVALUATION | {'round': n} for n in range(2)]}
  damaged = [{'rounds': v} for v in (3, [], [3], [{}], {'a': 1}, None, 'ab')]
  damaged += [
    {'rounds': [EVALUATION | {'round': n} | change for n in range(2)]}
    for change in (
      {'round': 1},
      {'round': '0'},
      {'gap': None},
      {'unseen': 3},
      {'unseen': SCORES},
    )
  ]
  for text in [*damages({}), '[{}]', *map(json.dumps, damaged)]:
    write(path, text)
    with pytest.raises(ValueError) as error:
      job_start.read_results(path, run_summary.is_complete)
    assert str(error.value).startswith(f'{path} is damaged (')
  write(path, json.dumps(results))
  assert job_start.read_results(path, run_summary.is_complete) == results


def test_damaged_scenes_are_named_with_what_to_remove(tmp_path):
  row = {'id': 'a', 'understanding': 1.0, 'generation': 0.5}
  scenes, codes = tmp_path / 'scenes.jsonl', tmp_path / 'scenes.npz'
  reads = [(scenes, lambda: paired_changes.read_scores(tmp_path))] * 2
  reads += [(codes, lambda: run_story._codes(codes))]
  for path, read in reads:
    for text in (None, *damages(row, generation=['1', None, []])):
      path.unlink(missing_ok=True)
      if text is not None:
        write(path, text)
      if path == scenes and not text and text is not None:
        continue  # No scene: the counts differ later.
      with pytest.raises(ValueError) as error:
        read()
      (line,) = str(error.value).splitlines()
      assert line.startswith(f'{path} is gone or damaged (')
      assert f'remove {tmp_path / "evaluation.json"}, and the same' in line


def test_a_damaged_manifest_is_no_manifest(tmp_path):
  path, pairs = tmp_path / 'manifest.json', tmp_path / 'pairs.jsonl'
  write(pairs, json.dumps(PAIR) + '\n')
  record = {'round': 1, 'sha256': {'pairs.jsonl': 'x'}}
  for text in damages({}, sha256=[3, None, []]):
    write(path, text)
    assert curation_folder.read_finished(tmp_path) is None
    with pytest.raises(ValueError, match='before must be the folder of a cur'):
      curation_folder.read_previous_round(str(tmp_path), 1)
    with pytest.raises(ValueError, match='no finished curation in'):
      curation_folder.dataset_hashes(tmp_path, 1)
    curation_folder.check_round_of_file(tmp_path / 'pairs.json', 1)
  write(path, json.dumps(record))
  with pytest.raises(ValueError, match='is damaged; remove it and run curate'):
    curation_folder.read_previous_round(str(tmp_path), 1)
