"""Rounds on the user's own files: checked, split and resumed."""

import dataclasses
import json
import pathlib

import file_runs
import official_runs
import pytest
import tiny_world

from hermesflow_jax.curation import official_pair_writer
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import play_files
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import terminal


@pytest.fixture
def config(file_config):
  return file_config


def test_the_rounds_run_on_files_and_name_their_judge(config, tmp_path):
  root = tmp_path / 'run'
  results = pair_dpo.run(config, str(root), terminal.silent())
  assert [r['judge'] for r in results['rounds']] == ['base model'] * 2
  lines = (root / 'round_1' / 'pairs.jsonl').read_text().splitlines()
  names = [json.loads(line)['id'] for line in lines]
  assert names == [f'preference-{n}' for n in range(6)]
  assert results['rounds'][0]['geneval'] == {}
  page = (root / 'report.html').read_text()
  assert 'judged by the base model' in page and '</html>' in page


def test_records_that_the_tokenizer_cannot_tell_apart_may_be_skipped(
  config, tmp_path
):
  """Two choices with the same tokens, half a character."""
  source = config.files.inputs
  path = pathlib.Path(source.annotations)
  lines = [json.loads(line) for line in path.read_text().splitlines()]
  alike = {'question': 'a ?', 'choices': ['zebra', 'lion'], 'answer': 'lion'}
  lines[1]['questions'] = [alike]
  lines[2]['caption'] = 'a \ud83d ring'
  other = tmp_path / 'faults.jsonl'
  other.write_text(''.join(json.dumps(line) + '\n' for line in lines))
  source = dataclasses.replace(source, annotations=str(other))

  player = official_runs.load_model(config.init_from)

  def read(on_error):
    inputs = dataclasses.replace(source, on_error=on_error)
    files = dataclasses.replace(config.files, inputs=inputs)
    changed = dataclasses.replace(config, files=files, inputs=4)
    output = []
    console = dataclasses.replace(terminal.silent(), say=output.append)
    play_files.check_files(changed, job_model.locate(changed), console)
    data = pair_dpo.play_data(changed, player, str(tmp_path / 'data'), console)
    return data.inputs[0].ids, output

  faults = 'line 2: choices must differ', 'line 3: caption must be Unicode text'
  with pytest.raises(ValueError) as error:
    read('raise')
  assert all(fault in str(error.value) for fault in faults)
  names, output = read('skip')
  assert names == [f'preference-{n}' for n in (0, 3, 4, 5)]
  assert any('2 of 6 left out' in line for line in output)
  assert all(any(fault in line for line in output) for fault in faults)


def test_each_round_leaves_official_records_where_asked(config, tmp_path):
  """A run that goes on leaves them, too: `official` is free to change."""
  root, silent = tmp_path / 'run', terminal.silent()
  pair_dpo.run(config, str(root), silent)
  assert not list(root.rglob(official_pair_writer.NAME))
  official = dataclasses.replace(config, official=True)
  results = pair_dpo.run(config, str(root), silent)
  assert pair_dpo.run(official, str(root), silent) == results
  written = (root / 'round_1' / official_pair_writer.NAME).read_text()
  (root / 'round_1' / official_pair_writer.NAME).unlink()
  (root / 'results.json').unlink()
  command = 'python main.py --config=configs/pair_dpo.py:show_o_512'
  pair_dpo.run(
    official, str(root), dataclasses.replace(silent, command=command)
  )
  text = (root / 'round_1' / official_pair_writer.NAME).read_text()
  assert text == written
  rows = json.loads(text)
  lines = (root / 'round_1' / 'pairs.jsonl').read_text().splitlines()
  kept = [
    row['id']
    for row in map(json.loads, lines)
    if not row['caption_dropped'] and not row['image_dropped']
  ]
  assert [row['id'] for row in rows] == kept
  for row in rows:
    for name in ('img_path', 'image_win', 'image_lose'):
      assert pathlib.Path(row[name]).is_file()
  assert command in (root / 'report.html').read_text()


def lines_of(source):
  path = pathlib.Path(source.annotations)
  return path, [json.loads(line) for line in path.read_text().splitlines()]


def changed(source, **changes):
  """Changes the first records of a source: name -> values."""
  path, rows = lines_of(source)
  for name, values in changes.items():
    for row, value in zip(rows, values):
      row[name] = value
  path.write_text(output_files.json_lines(rows))


def test_records_that_are_not_used_are_counted(config, tmp_path):
  config = dataclasses.replace(config, inputs=5, held_out=3)
  output = file_runs.run_and_hear(config, tmp_path / 'run')[1]
  counts = [line for line in output if 'records: the first' in line]
  assert len(counts) == 2
  assert 'has 6 records: the first 5 by id are used, 1 are not' in counts[0]
  assert 'has 4 records: the first 3 by id are used, 1 are not' in counts[1]
  # Rounds with inputs of their own use more.
  more = dataclasses.replace(
    file_runs.two_rounds(config), inputs=3, fresh_inputs=True
  )
  output = file_runs.run_and_hear(more, tmp_path / 'fresh')[1]
  assert not any('has 6 records' in line for line in output)


def test_held_out_records_that_are_all_inputs_are_refused(config, tmp_path):
  data = dataclasses.replace(config.files, held_out=config.files.inputs)
  with pytest.raises(
    ValueError,
    match=(
      'files.held_out must hold records that are not inputs, got 4 records'
    ),
  ):
    file_runs.run_and_hear(
      dataclasses.replace(config, files=data), tmp_path / 'run'
    )
  assert not (tmp_path / 'run').exists()


def test_records_that_are_inputs_too_are_told(config, tmp_path):
  _, inputs = lines_of(config.files.inputs)
  captions = [inputs[2]['caption'], inputs[3]['caption']]
  changed(
    config.files.held_out,
    id=[inputs[5]['id']],
    caption=captions,
    img_path=[inputs[0]['img_path']],
    questions=[inputs[2]['questions'], inputs[3]['questions']],
  )
  results, output = file_runs.run_and_hear(config, tmp_path / 'run')
  beginning = 'warning: of 4 held-out'
  (warning,) = (line for line in output if line.startswith(beginning))
  _, held_out = lines_of(config.files.held_out)
  known = {row['caption'] for row in inputs}
  same = sum(row['caption'] in known for row in held_out)
  assert 2 <= same < 4
  assert '1 have the id of an input' in warning
  assert '1 have the image file of an input' in warning
  assert f'{same} have the caption of an input' in warning
  for row in results['rounds']:
    assert row['captions_also_of_inputs'] == same
  # The held-out records whose caption is new are told apart, if there are two.
  new = [row['id'] for row in held_out if row['caption'] not in known]
  folder = tmp_path / 'run' / 'round_1'
  rows = {
    kind: [
      json.loads(line)
      for line in (folder / f'scenes{kind}.jsonl').read_text().splitlines()
    ]
    for kind in ('', '_unseen')
  }
  assert [row['id'] for row in rows['_unseen']] == sorted(new)
  by_id = {row['id']: row for row in rows['']}
  assert all(by_id[row['id']] == row for row in rows['_unseen'])
  assert results['rounds'][1]['unseen']['scenes'] == len(new)


def test_captions_that_are_all_new_are_one_set(config, tmp_path):
  changed(
    config.files.held_out,
    caption=[f'a red ring and a blue cross {n}' for n in range(4)],
  )
  results, output = file_runs.run_and_hear(config, tmp_path / 'run')
  assert not any('held-out records' in line for line in output)
  for row in results['rounds']:
    assert row['captions_also_of_inputs'] == 0 and row['unseen'] is None
  assert not list((tmp_path / 'run').rglob('scenes_unseen*'))


def test_too_few_records_are_refused(config, tmp_path):
  with pytest.raises(ValueError, match='must have 7 records, got 6'):
    pair_dpo.run(
      dataclasses.replace(config, inputs=7),
      str(tmp_path / 'run'),
      terminal.silent(),
    )


def test_a_run_of_other_data_is_not_resumed(config, tmp_path):
  root = str(tmp_path / 'run')
  pair_dpo.run(config, root, terminal.silent())
  tiny_world.files(tmp_path, 'preference', 7)
  with pytest.raises(ValueError, match='config.data'):
    pair_dpo.run(config, root, terminal.silent())


def test_faults_of_the_data_are_told_before_weights_are_read(
  config, tmp_path, monkeypatch
):
  monkeypatch.setattr(job_model, 'load_parts', None)
  (tmp_path / 'eval.jsonl').write_text('{')
  with pytest.raises(ValueError, match='eval.jsonl: line 1'):
    pair_dpo.run(config, str(tmp_path / 'run'), terminal.silent())
