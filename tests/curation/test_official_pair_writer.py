"""Pairs written in the form of the official code, and read back."""

import json
import pathlib

import data_forms
import numpy as np
import official_runs
from PIL import Image
import pytest
import tiny_world

import configs.curate
from hermesflow_jax.curation import official_pair_reader
from hermesflow_jax.curation import official_pair_writer
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import learn
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

# The keys of HermesFlow's README, in their order.
KEYS = [
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
]


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  return tiny_world.bundle(tmp_path_factory.mktemp('base'))


def curated(base, folder, messages=None, **changes):
  """Runs the job `curate`; returns its folder."""
  config = configs.curate.get_config()
  del config.job
  config.update(
    {
      'init_from': str(base),
      'inputs': 12,
      'shard': 5,
      'images': 4,
      'captions': config.captions[-2:],
      'official': True,
    }
  )
  config.sampler.steps = 2
  config.rules.least_win = 0.0
  config.update(changes)
  say = (lambda line: None) if messages is None else messages.append
  curate.run(
    settings.build(curate.Settings, config.to_dict()),
    str(folder),
    terminal.Console(say, lambda label: lambda items: items),
  )
  return folder


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """A source whose ids are numbers, as in `initial_data.json`."""
  root = tmp_path_factory.mktemp('data')
  source = tiny_world.files(root, 'preference', 12)
  path = pathlib.Path(source.annotations)
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  for number, row in enumerate(rows):
    row |= {'id': 100 + number, 'prompt': f'prompt {number}'}
  path.write_text(json.dumps(rows))
  return source


@pytest.fixture(scope='module')
def run(base, data, tmp_path_factory):
  """The folder of a curation of files, with official records."""
  files = {
    'annotations': data.annotations,
    'images': data.images,
    'questions': '',
    'on_error': 'raise',
  }
  return curated(base, tmp_path_factory.mktemp('run') / 'a', files=files)


def lines(folder):
  rows = (folder / 'pairs.jsonl').read_text().splitlines()
  return {row['id']: row for row in map(json.loads, rows)}


@pytest.fixture(scope='module')
def player(base):
  return official_runs.load_model(base)


def test_records_are_those_of_the_official_script(run, data):
  records = json.loads((run / 'pair_dpo_data.json').read_text())
  rows = lines(run)
  kept = [
    r
    for r in rows.values()
    if not r['caption_dropped'] and not r['image_dropped']
  ]
  assert 0 < len(kept) < len(rows)
  assert [r['id'] for r in records] == [int(r['id']) for r in kept]
  for row, mine in zip(records, kept):
    assert list(row) == KEYS
    number = int(mine['id']) - 100
    assert row['prompt'] == f'prompt {number}'
    assert row['img_path'] == f'{data.images}/preference-{number}.png'
    for name in ('caption', 'caption_win', 'caption_lose', 'vqa_score_win'):
      assert row[name] == mine[name]
    assert row['bert_score_lose'] == mine['caption_score_lose']


def test_images_are_the_decoded_codes(run, player):
  rows = lines(run)
  for row in json.loads((run / 'pair_dpo_data.json').read_text()):
    for side in ('win', 'lose'):
      expected = player.decode(
        np.array([rows[str(row['id'])][f'codes_{side}']], np.int32)
      )
      with Image.open(row[f'image_{side}']) as image:
        np.testing.assert_array_equal(np.asarray(image), expected[0])


def test_there_and_back_loses_only_what_the_tokenizer_loses(
  run, data, base, player, tmp_path
):
  path = storage.path(run / 'pair_dpo_data.json')
  root = str(run.parents[1])
  records = official_pair_reader.load_official(
    path, root, player, tmp_path, 'a', 'raise', lambda line: None
  )
  rows = lines(run)
  assert [r['id'] for r in records] == [
    str(r['id']) for r in json.loads(path.read_text())
  ]
  for row in records:
    mine = rows[row['id']]
    for name in ('caption', 'caption_win', 'caption_lose'):
      assert row[name] == mine[name]
    codes = player.encode(
      player.decode(np.array([mine['codes_win'], mine['codes_lose']], np.int32))
    )
    np.testing.assert_array_equal(row['codes_win'], codes[0])
    np.testing.assert_array_equal(row['codes_lose'], codes[1])
    # The real image is the file of the data, not one that was decoded.
    np.testing.assert_array_equal(row['codes'], mine['codes'])
  result = learn.run(
    official_runs.learn_settings(base, path, images=root),
    str(tmp_path / 'run'),
    terminal.silent(),
  )
  assert result['steps'] == 2 and 0 < result['inputs'] <= len(records)
  assert (tmp_path / 'run' / 'model').exists()


def test_a_world_without_files_has_its_real_images_beside(base, tmp_path):
  messages = []
  folder = curated(base, tmp_path / 'run', messages)
  rows = json.loads((folder / 'pair_dpo_data.json').read_text())
  assert rows and any(
    f'{len(rows)} of 12 inputs have both pairs' in line for line in messages
  )
  for row in rows:
    assert row['img_path'] == str(
      folder / 'initial_images' / f'{row["id"]}.png'
    )
    assert row['prompt'] == row['caption']
  assert len(
    official_pair_reader.read_official(
      storage.path(folder / 'pair_dpo_data.json'), '', 'raise'
    )
  ) == len(rows)


def test_a_stop_costs_a_shard_at_most(run, data, player, tmp_path, monkeypatch):
  """What is there is not decoded again, and the JSON comes last."""
  monkeypatch.setattr(official_pair_writer, 'SHARD', 1)
  rows, decoded = lines(run), []
  ids = [
    n
    for n, r in rows.items()
    if not r['caption_dropped'] and not r['image_dropped']
  ]
  inputs = input_set.Inputs(
    ids,
    [rows[n]['caption'] for n in ids],
    [''] * len(ids),
    [[]] * len(ids),
    np.array([rows[n]['codes'] for n in ids]),
  )
  pairs = {n: pair_files.pair_from_record(rows[n]) for n in ids}

  def write(fails_at):
    def decode(codes):
      if len(decoded) == fails_at:
        raise KeyboardInterrupt
      decoded.append(len(codes))
      return player.decode(codes)

    official_pair_writer.write_official(
      tmp_path, inputs, pairs, decode, None, lambda line: None
    )

  with pytest.raises(KeyboardInterrupt):
    write(1)
  assert not (tmp_path / 'pair_dpo_data.json').exists()
  write(-1)
  # Winner, loser and the real image of each input, once.
  assert decoded == [3] * len(ids)
  assert (tmp_path / 'pair_dpo_data.json').exists()
  write(len(decoded))


@pytest.mark.parametrize('most', [1, 10_000])
def test_real_images_inside_shards_get_files_of_their_own(
  most, tmp_path, monkeypatch
):
  """The official trainer opens a path; it reads no shard."""
  monkeypatch.setattr(disk_objects, 'MOST', most)
  source = data_forms.webdataset(tmp_path)
  examples = record_files.open_records(source, needs_questions=False)
  ids = [example['id'] for example in examples]
  inputs = input_set.Inputs(
    ids, ['a'] * 3, [''] * 3, [[]] * 3, np.zeros((3, 4), np.int32)
  )

  def pair(win, lose):
    candidates = [
      pair_selection.ScoredCandidate(value, score)
      for value, score in ((win, 1.0), (lose, 0.0))
    ]
    return pair_selection.Pair(*candidates)

  codes = np.arange(4)
  pairs = {name: (pair('a', 'b'), pair(codes, codes)) for name in ids}
  official_pair_writer.write_official(
    tmp_path / 'out',
    inputs,
    pairs,
    lambda codes: np.zeros((len(codes), 8, 8, 3), np.uint8),
    official_pair_writer.official_fields(examples),
    lambda line: None,
  )
  path = storage.path(tmp_path / 'out' / 'pair_dpo_data.json')
  for number, row in enumerate(json.loads(path.read_text())):
    real = pathlib.Path(row['img_path'])
    assert real.is_absolute() and real.read_bytes() == data_forms.png(number)
  assert len(official_pair_reader.read_official(path, '', 'raise')) == 3


@pytest.mark.parametrize('most', [1, 10_000])
def test_fields_are_those_of_the_start(most, tmp_path, monkeypatch):
  """Rounds later the file of inputs may have changed, or be gone."""
  monkeypatch.setattr(disk_objects, 'MOST', most)
  source = data_forms.official(tmp_path)
  fields = official_pair_writer.official_fields(
    record_files.open_records(source)
  )
  expected = dict(fields)
  assert len(expected) == 3
  pathlib.Path(source.annotations).unlink()
  assert dict(fields) == expected
