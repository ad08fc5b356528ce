"""A curation has each input once, and refuses inputs that do not fit."""

import dataclasses
import json
import pathlib
import sys

from absl import logging
import curate_runs
import numpy as np
import pytest
import tiny_world

from hermesflow_jax.curation import pair_dataset
from hermesflow_jax.jobs import curate
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import terminal


def test_each_input_is_there_once(whole_curation):
  rows = curate_runs.rows_of(whole_curation)
  ids = [row['id'] for row in rows]
  assert ids == sorted(set(ids)) and len(ids) == curate_runs.SMALL['inputs']
  manifest = json.loads((whole_curation / 'manifest.json').read_text())
  assert (manifest['inputs'], manifest['shards']) == (10, 4)
  for counts in manifest['drops'].values():
    assert sum(counts.values()) == 10
  assert {name.partition('/')[0] for name in manifest['sha256']} == {
    'pairs.jsonl',
    'tfds',
  }
  assert any('array_record' in name for name in manifest['sha256'])
  for name, expected in manifest['sha256'].items():
    assert output_files.sha256(whole_curation / name) == expected


def test_a_dataset_for_training_holds_the_same_pairs(whole_curation):
  rows = curate_runs.rows_of(whole_curation)
  rows = {row['id']: row for row in rows}
  actual = pair_dataset.data_source(str(whole_curation / 'tfds'))
  assert len(actual) == len(rows)
  for record in actual:
    row = rows[record['id'].decode()]
    for name in ('codes', 'codes_win', 'codes_lose'):
      np.testing.assert_array_equal(record[name], row[name])
    for name in ('caption', 'caption_win', 'caption_lose', 'image_dropped'):
      assert record[name].decode() == row[name]
    for name in ('caption_score_win', 'vqa_score_lose'):
      np.testing.assert_allclose(record[name], row[name], rtol=1e-6)


def test_no_pairs_are_no_dataset(tmp_path):
  with pytest.raises(ValueError, match='no pairs at'):
    pair_dataset.data_source(str(tmp_path))


def test_no_bars_of_libraries_appear_beside_ours(
  whole_curation, tmp_path, monkeypatch, capfd
):
  rows = curate_runs.rows_of(whole_curation)
  pair_dataset.tfds.enable_progress_bar()
  # A command prints no warnings of libraries either.
  monkeypatch.setattr(logging.get_absl_logger(), 'disabled', True)
  monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
  pair_dataset.write_dataset(str(tmp_path), rows, len(rows[0]['codes']))
  assert capfd.readouterr() == ('', '')


def changed_line(source, number, **changes):
  """Changes a record of a source."""
  path = pathlib.Path(source.annotations)
  lines = path.read_text().splitlines()
  lines[number] = json.dumps(json.loads(lines[number]) | changes)
  path.write_text('\n'.join(lines) + '\n')


def test_what_does_not_fit_into_a_row_is_heard_of_before_any_work(
  base, tmp_path, monkeypatch
):
  source = tiny_world.files(tmp_path, 'preference', 4)
  question = 'what is ' + 'the ring with ' * 9 + '?'
  changed_line(
    source,
    1,
    questions=[{'question': question, 'choices': ['a', 'b'], 'answer': 'a'}],
  )
  changed_line(source, 2, caption='a red ring and ' * 9)
  files = dataclasses.asdict(source)
  calls = curate_runs.stopped_at_third(monkeypatch)
  with pytest.raises(ValueError, match='line 2: question must have at most'):
    curate_runs.run(base, tmp_path / 'a', files=files, inputs=4)
  assert not calls
  manifest, output = curate_runs.run(
    base, tmp_path / 'b', files=files | {'on_error': 'skip'}, inputs=4, shard=8
  )
  assert manifest['inputs'] == 3
  assert calls == [['preference-0', 'preference-2', 'preference-3']]
  assert output[0].endswith('1 of 4 left out:') and 'line 2: ' in output[1]
  assert '1 captions are too long' in output[2] and 'preference-2' in output[2]


def test_faults_of_fields_questions_and_images_are_named_at_once(
  base, tmp_path, idle
):
  source = tiny_world.files(tmp_path, 'preference', 7)
  choices = {'question': 'a ?', 'choices': ['zebra', 'lion'], 'answer': 'lion'}
  long = choices | {'question': 'what is ' + 'the ring with ' * 9 + '?'}
  changed_line(source, 0, questions=[long, choices], caption='')
  changed_line(source, 1, caption=None)
  changed_line(source, 2, img_path='none.png')
  changed_line(source, 3, caption='a red ring and ' * 9)
  broken = tmp_path / 'preference-4.png'
  broken.write_bytes(broken.read_bytes()[:200])
  (tmp_path / 'preference-5.png').write_bytes(b'GIF89a')
  output = []
  console = terminal.Console(output.append, lambda label: lambda x: x)
  files = dataclasses.asdict(source)
  config = curate_runs.configured(base, files=files, inputs=7)
  with pytest.raises(ValueError) as error:
    curate.run(config, str(tmp_path / 'a'), console)
  for fault in (
    "line 1: caption must be text, got ''; question must have at most",
    "'zebra' and 'lion' with the same tokens",
    'line 2: caption must be text, got None',
    'line 3: there is no image',
    "line 5: id 'preference-4': image ",
    "line 6: id 'preference-5': image ",
  ):
    assert fault in str(error.value)
  assert '1 captions are too long' in output[0] and 'preference-3' in output[0]


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'share': 2, 'shares': 2}, 'share must be less than shares, 2, got 2'),
    ({'shard': 0}, 'shard must be at least 1, got 0'),
    ({'images': 1}, 'images must be at least 2, got 1'),
  ],
)
def test_what_makes_no_sense_is_refused(base, changes, output):
  with pytest.raises(ValueError, match=output):
    curate_runs.configured(base, **changes)
