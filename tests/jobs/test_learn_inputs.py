"""Pairs that are damaged, empty or of another model are refused."""

import dataclasses
import json
import shutil

import learn_runs
import numpy as np
import pytest
import tiny
import tiny_jobs
import tiny_world

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.curation import official_pair_reader
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs.setup import curation_folder
from hermesflow_jax.jobs.setup import record_checks
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_tokenizer


@pytest.mark.parametrize(
  'damage, output',
  [
    (lambda f: next(f.rglob('pairs-train*')).write_bytes(b'x'), 'is damaged'),
    (lambda f: (f / 'manifest.json').unlink(), 'no finished curation'),
    (
      lambda f: (f / 'manifest.json').write_text('{"sha256": {"a": "b"}}'),
      'has no dataset',
    ),
    (lambda f: (f / 'manifest.json').write_text('[]'), 'no finished curation'),
  ],
)
def test_what_is_no_curation_is_refused(base, pairs, tmp_path, damage, output):
  shutil.copytree(pairs, tmp_path / 'pairs')
  damage(tmp_path / 'pairs')
  with pytest.raises(ValueError, match=output):
    learn.run(
      learn_runs.configured(base, tmp_path / 'pairs'),
      str(tmp_path / 'run'),
      terminal.silent(),
    )
  assert not (tmp_path / 'run').exists()


def test_records_must_fit_and_teach():
  side = pair_selection.ScoredCandidate(np.zeros(4, np.int32), 1.0)
  row = pair_files.pair_to_record(
    'a',
    'b',
    (
      pair_selection.Pair(
        pair_selection.ScoredCandidate('c', 1.0),
        pair_selection.ScoredCandidate('d', 0.0),
      ),
      pair_selection.Pair(side, side, 'same content'),
    ),
  ) | {'codes': [0] * 4}
  assert [r['id'] for r in learn.trainable_records([row], 4, both=False)] == [
    'a'
  ]
  with pytest.raises(ValueError, match='no input has a pair'):
    learn.trainable_records([row], 4, both=True)
  with pytest.raises(ValueError, match='must have 16 codes .* got 4'):
    learn.trainable_records([row], 16, both=False)


def test_no_pairs_are_refused(base):
  with pytest.raises(ValueError, match='pairs must be the folder'):
    learn_runs.configured(base, '')


def test_pairs_of_a_bucket_that_are_damaged_are_named(base, pairs, bucket):
  bucket.put_folder('pairs', pairs)
  (name,) = (n for n in bucket.names('pairs/tfds/') if 'array_record' in n)
  bucket.put(name, bucket.blobs[name].data[:-1] + b'x')
  config = learn_runs.configured(base, 'gs://bucket/pairs')
  with pytest.raises(ValueError, match=f'gs://bucket/{name} is damaged'):
    learn.run(config, 'gs://bucket/run', terminal.silent())
  with pytest.raises(ValueError, match='no finished curation in gs://bucket/x'):
    learn.run(
      learn_runs.configured(base, 'gs://bucket/x'),
      'gs://bucket/run',
      terminal.silent(),
    )


def test_pairs_of_another_tokenizer_are_refused(base, pairs, tmp_path):
  other = tiny_world.bundle(tmp_path / 'other', seed=1)
  with pytest.raises(ValueError, match='with another image tokenizer'):
    learn.run(
      learn_runs.configured(other, pairs),
      str(tmp_path / 'run'),
      terminal.silent(),
    )
  parts = model_bundle.load_bundle(base)
  words = text_tokenizer.word_level_tokenizer(['ring'])
  parts = dataclasses.replace(parts, text=words)
  with pytest.raises(ValueError, match='with another text tokenizer; give'):
    curation_folder.check_tokenizers(pairs, parts, terminal.silent())
  assert not (tmp_path / 'run').exists()


def test_pairs_of_an_earlier_release_do_not_say_their_tokenizers(
  base, pairs, tmp_path
):
  shutil.copytree(pairs, tmp_path / 'pairs')
  manifest = json.loads((pairs / 'manifest.json').read_text())
  assert manifest.pop('tokenizers').keys() == {'image', 'text'}
  (tmp_path / 'pairs' / 'manifest.json').write_text(json.dumps(manifest))
  console, lines = tiny_jobs.heard()
  parts = model_bundle.load_bundle(base)
  curation_folder.check_tokenizers(tmp_path / 'pairs', parts, console)
  assert 'that they are those of the model is not known' in lines[0]


def test_an_official_file_of_another_round_is_refused(tmp_path):
  (tmp_path / 'round_2').mkdir()
  file = tmp_path / 'round_2' / 'pair_dpo_data.json'
  curation_folder.check_round_of_file(file, 2)
  with pytest.raises(ValueError, match='round must be 2, the round of the'):
    curation_folder.check_round_of_file(file, 1)
  # The manifest of a curation beside the file says more than a name.
  manifest = file.parent / 'manifest.json'
  manifest.write_text('{"round": 3, "sha256": {}}')
  curation_folder.check_round_of_file(file, 3)
  # A file of the official code has no round.
  curation_folder.check_round_of_file(tmp_path / 'pair_dpo_data.json', 7)


def test_captions_of_pairs_that_rows_cut_are_named():
  unified = unified_model.UnifiedModel(
    model=None,
    tokenizer=None,
    text=tiny.text(),
    lengths=tiny.LENGTHS,
    grid=tiny.GRID,
    mesh=None,
    chunk=1,
    progress=None,
  )
  rows = [
    {'id': 'a', 'caption': 'red', 'caption_win': 'red', 'caption_lose': 'blue'},
    {'id': 'b', 'caption': 'red ' * 9, 'caption_win': 'red'},
  ]
  rows[1]['caption_lose'] = 'red ' * unified.lengths.reply
  console, lines = tiny_jobs.heard()
  record_checks.report_long_texts(unified, rows, console)
  assert lines == [
    'warning: 1 captions are too long; the model reads only their beginning: b',
    (
      'warning: 1 pairs have a caption that is too long; the model learns only '
      'their beginning: b'
    ),
  ]


def test_the_file_of_a_curation_is_no_official_file(pairs):
  with pytest.raises(ValueError, match='got its file .*pairs.jsonl; give '):
    official_pair_reader.read_official(pairs / 'pairs.jsonl', '', 'raise')


def test_a_batch_of_more_than_all_inputs_is_named(
  base, pairs, tmp_path, monkeypatch
):
  console, lines = tiny_jobs.heard()

  def stop(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(learning, 'learn_round', stop)
  config = learn_runs.configured(base, pairs, batch=16)
  with pytest.raises(KeyboardInterrupt):
    learn.run(config, str(tmp_path / 'run'), console)
  assert any('got 16: a step repeats them' in line for line in lines)
