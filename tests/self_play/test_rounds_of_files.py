"""The rounds on data of one's own: read, judged by the base model, resumed."""

import collections
import dataclasses
import gc
import json
import pathlib

import jax
import jax.numpy as jnp
import pytest
import tiny_world

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.curation import official_pair_writer
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import serving_weights


@pytest.fixture
def config(tmp_path):
  base = tiny_world.bundle(tmp_path / 'base')
  config = tiny_world.self_play(base)
  data = pair_dpo.OwnFiles(
    inputs=tiny_world.files(tmp_path, 'preference', 6),
    held_out=tiny_world.files(tmp_path, 'eval', 4),
  )
  play = dataclasses.replace(config.play, rounds=1)
  return dataclasses.replace(config, files=data, play=play)


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


def test_each_round_leaves_official_records_where_asked(config, tmp_path):
  """A run that goes on leaves them, too: `official` is free to change."""
  root, silent = tmp_path / 'run', terminal.silent()
  pair_dpo.run(config, str(root), silent)
  assert not list(root.rglob(official_pair_writer.NAME))
  (root / 'results.json').unlink()
  command = 'python main.py --config=configs/pair_dpo.py:show_o_512'
  pair_dpo.run(
    dataclasses.replace(config, official=True),
    str(root),
    dataclasses.replace(silent, command=command),
  )
  rows = json.loads((root / 'round_1' / official_pair_writer.NAME).read_text())
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


def run_and_hear(config, root):
  """Returns (results, printed lines)."""
  output = []
  console = dataclasses.replace(terminal.silent(), say=output.append)
  return pair_dpo.run(config, str(root), console), output


def two_rounds(config):
  """Settings of two rounds with the same inputs."""
  play = dataclasses.replace(config.play, rounds=2)
  return dataclasses.replace(config, play=play, fresh_inputs=False)


def test_no_number_compares_a_model_with_itself(config, tmp_path):
  """The base judges: its own candidates and images are round 1's and 0's."""
  root = tmp_path / 'run'
  results, _ = run_and_hear(two_rounds(config), root)
  base, first, second = results['rounds']
  assert 'own_score' not in base and 'own_score' in first
  assert 'generation is its own score' in base['note'] and 'note' not in first
  row = json.loads((root / 'round_0/scenes.jsonl').read_text().splitlines()[0])
  assert 'own_score' not in row and 'own' not in row and 'judged' in row
  assert first['curation'].keys() == {'drops', 'note', 'seconds'}
  assert 'is not measured' in first['curation']['note']
  # The second round's candidates are of a model that learned.
  assert 'note' not in second['curation']
  assert {'self_score', 'judge_score'} <= second['curation'].keys()
  page = (root / 'report.html').read_text()
  assert page.count(first['curation']['note']) == 1
  assert page.count(base['note']) == 1


def test_a_model_that_learned_nothing_is_still_the_judge(
  config, tmp_path, monkeypatch
):
  monkeypatch.setattr(
    pair_selection,
    'filter_pair',
    lambda pair, *bounds: dataclasses.replace(pair, dropped='by a test'),
  )
  results, _ = run_and_hear(two_rounds(config), tmp_path / 'run')
  for row in results['rounds']:
    assert 'own_score' not in row
  for row in results['rounds'][1:]:
    assert 'judge_score' not in row['curation']


def test_pairs_are_safe_before_the_judge_is_asked(
  config, tmp_path, monkeypatch
):
  """A stop among its answers loses no pair, and one shard of answers."""
  config = two_rounds(config)
  config = dataclasses.replace(
    config, play=dataclasses.replace(config.play, shard=2)
  )
  whole, _ = run_and_hear(config, tmp_path / 'whole')
  folder, scores, calls = (
    tmp_path / 'run' / 'round_2',
    judge_agreement.agreement_scores,
    [],
  )

  def stopping(judge, codes, questions):
    assert (folder / 'pairs.jsonl').exists() and (folder / 'codes.npz').exists()
    assert not (folder / 'curation.json').exists()
    # Of the candidates of a shard, two inputs; never of all six.
    assert len(codes) <= 2
    calls.append(codes.tolist())
    if len(calls) == 4:
      raise KeyboardInterrupt
    return scores(judge, codes, questions)

  monkeypatch.setattr(judge_agreement, 'agreement_scores', stopping)
  with pytest.raises(KeyboardInterrupt):
    run_and_hear(config, tmp_path / 'run')
  before = (folder / 'pairs.jsonl').read_bytes()
  judged = sorted(path.name for path in (folder / 'judged').glob('*.npz'))
  assert 1 <= len(judged) < 3
  resumed, _ = run_and_hear(config, tmp_path / 'run')
  assert (folder / 'pairs.jsonl').read_bytes() == before
  counts = collections.Counter(map(str, calls))
  # What was asked when the stop came, and its neighbours in the shard.
  assert sum(count - 1 for count in counts.values()) <= 2
  for row in (*resumed['rounds'], *whole['rounds']):
    row.pop('seconds')
    row.get('curation', {}).pop('seconds', None)
  assert resumed['rounds'] == whole['rounds']


def held():
  """Bytes of all live arrays of bfloat16."""
  gc.collect()
  return sum(a.nbytes for a in jax.live_arrays() if a.dtype == jnp.bfloat16)


def test_nothing_that_samplers_read_is_alive_while_a_round_learns(
  config, tmp_path, monkeypatch
):
  """Models served in bfloat16 are copies: of players, and of the judge."""
  sizes, _ = model_bundle.read_sizes(config.init_from)
  decoder = dataclasses.replace(sizes.decoder, dtype='bfloat16')
  config = dataclasses.replace(
    two_rounds(config), sizes=dataclasses.replace(sizes, decoder=decoder)
  )
  served, learning_now = [], []
  ready, learn = serving_weights.prepare_for_serving, learning.learn_round

  def serving(*args, **kwargs):
    model = ready(*args, **kwargs)
    served.append(held())
    return model

  def watched(*args, **kwargs):
    learning_now.append(held())
    return learn(*args, **kwargs)

  before = held()
  monkeypatch.setattr(serving_weights, 'prepare_for_serving', serving)
  monkeypatch.setattr(learning, 'learn_round', watched)
  run_and_hear(config, tmp_path / 'run')
  assert min(served) > before, 'the test sees no served model'
  assert learning_now == [before] * 2


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
  output = run_and_hear(config, tmp_path / 'run')[1]
  counts = [line for line in output if 'records: the first' in line]
  assert len(counts) == 2
  assert 'has 6 records: the first 5 by id are used, 1 are not' in counts[0]
  assert 'has 4 records: the first 3 by id are used, 1 are not' in counts[1]
  # Rounds with inputs of their own use more.
  more = dataclasses.replace(two_rounds(config), inputs=3, fresh_inputs=True)
  output = run_and_hear(more, tmp_path / 'fresh')[1]
  assert not any('has 6 records' in line for line in output)


def test_held_out_records_that_are_all_inputs_are_refused(config, tmp_path):
  data = dataclasses.replace(config.files, held_out=config.files.inputs)
  with pytest.raises(
    ValueError,
    match=(
      'files.held_out must hold records that are no inputs, got 4 that all'
    ),
  ):
    run_and_hear(dataclasses.replace(config, files=data), tmp_path / 'run')
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
  results, output = run_and_hear(config, tmp_path / 'run')
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
  results, output = run_and_hear(config, tmp_path / 'run')
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
