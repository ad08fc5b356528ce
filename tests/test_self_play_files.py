"""The rounds on data of one's own: read, judged by the base model, resumed."""

import dataclasses
import json
import pathlib

import pytest

from hermesflow_jax import console as console_lib
from hermesflow_jax.data import official
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import start
import tiny_world


@pytest.fixture
def config(tmp_path):
  base = tiny_world.bundle(tmp_path / 'base')
  config = tiny_world.self_play(base)
  data = pair_dpo.Files(
      inputs=tiny_world.files(tmp_path, 'preference', 6),
      held_out=tiny_world.files(tmp_path, 'eval', 4),
  )
  play = dataclasses.replace(config.play, rounds=1)
  return dataclasses.replace(config, files=data, play=play)


def test_the_rounds_run_on_files_and_name_their_judge(config, tmp_path):
  root = tmp_path / 'run'
  results = pair_dpo.run(config, str(root), console_lib.silent())
  assert [r['judge'] for r in results['rounds']] == ['base model'] * 2
  lines = (root / 'round_1' / 'pairs.jsonl').read_text().splitlines()
  names = [json.loads(line)['id'] for line in lines]
  assert names == [f'preference-{n}' for n in range(6)]
  assert results['rounds'][0]['geneval'] == {}
  page = (root / 'report.html').read_text()
  assert 'judged by the base model' in page and '</html>' in page


def test_each_round_leaves_official_records_where_asked(config, tmp_path):
  """A run that goes on leaves them, too: `official` is free to change."""
  root, silent = tmp_path / 'run', console_lib.silent()
  pair_dpo.run(config, str(root), silent)
  assert not list(root.rglob(official.NAME))
  (root / 'results.json').unlink()
  command = 'python main.py --config=configs/pair_dpo.py:show_o_512'
  pair_dpo.run(
      dataclasses.replace(config, official=True), str(root),
      dataclasses.replace(silent, command=command))
  rows = json.loads((root / 'round_1' / official.NAME).read_text())
  lines = (root / 'round_1' / 'pairs.jsonl').read_text().splitlines()
  kept = [
      row['id'] for row in map(json.loads, lines)
      if not row['caption_dropped'] and not row['image_dropped']
  ]
  assert [row['id'] for row in rows] == kept
  for row in rows:
    for name in ('img_path', 'image_win', 'image_lose'):
      assert pathlib.Path(row[name]).is_file()
  assert command in (root / 'report.html').read_text()


def test_too_few_records_are_refused(config, tmp_path):
  with pytest.raises(ValueError, match='has 6 records, wanted 7'):
    pair_dpo.run(
        dataclasses.replace(config, inputs=7), str(tmp_path / 'run'),
        console_lib.silent(),
    )


def test_a_run_of_other_data_is_not_resumed(config, tmp_path):
  root = str(tmp_path / 'run')
  pair_dpo.run(config, root, console_lib.silent())
  tiny_world.files(tmp_path, 'preference', 7)
  with pytest.raises(ValueError, match='config.data'):
    pair_dpo.run(config, root, console_lib.silent())


def test_faults_of_the_data_are_told_before_weights_are_read(
    config, tmp_path, monkeypatch
):
  monkeypatch.setattr(start, 'load', None)
  (tmp_path / 'eval.jsonl').write_text('{')
  with pytest.raises(ValueError, match='eval.jsonl: line 1'):
    pair_dpo.run(config, str(tmp_path / 'run'), console_lib.silent())
