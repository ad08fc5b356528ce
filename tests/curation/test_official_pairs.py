"""Pairs in the form of the official code: out, in, and there and back."""

import json
import math
import pathlib

import numpy as np
from PIL import Image
import pytest
import tiny_world

import configs.curate
import configs.learn
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.curation import official_pairs
from hermesflow_jax.curation import pair_files
from hermesflow_jax.data import input_set
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs.setup import job_model
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


def curated(base, folder, said=None, **changes):
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
  say = (lambda line: None) if said is None else said.append
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
  config = configured(base, base)
  parts = model_bundle.load_bundle(base)
  return job_model.place_on_mesh(
    config, parts, config.mesh.make(), terminal.silent()
  )


def configured(base, pairs, **changes):
  config = configs.learn.get_config()
  del config.job
  config.update(
    {
      'init_from': str(base),
      'pairs': str(pairs),
      'both': False,
      'batch': 8,
      'epochs': 0.0,
      'log_every': 1,
      'save_every': 0,
    }
  )
  config.optim.update({'steps': 2, 'lr': 1e-2})
  config.update(changes)
  return settings.build(learn.Settings, config.to_dict())


def test_records_are_those_of_the_official_script(run, data):
  found = json.loads((run / 'pair_dpo_data.json').read_text())
  rows = lines(run)
  kept = [
    r
    for r in rows.values()
    if not r['caption_dropped'] and not r['image_dropped']
  ]
  assert 0 < len(kept) < len(rows)
  assert [r['id'] for r in found] == [int(r['id']) for r in kept]
  for row, mine in zip(found, kept):
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
      wanted = player.decode(
        np.array([rows[str(row['id'])][f'codes_{side}']], np.int32)
      )
      with Image.open(row[f'image_{side}']) as image:
        np.testing.assert_array_equal(np.asarray(image), wanted[0])


def test_there_and_back_loses_only_what_the_tokenizer_loses(
  run, data, base, player, tmp_path
):
  path = storage.path(run / 'pair_dpo_data.json')
  root = str(run.parents[1])
  found = official_pairs.load_official(
    path, root, player, tmp_path, 'a', 'raise', lambda line: None
  )
  rows = lines(run)
  assert [r['id'] for r in found] == [
    str(r['id']) for r in json.loads(path.read_text())
  ]
  for row in found:
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
    configured(base, path, images=root),
    str(tmp_path / 'run'),
    terminal.silent(),
  )
  assert result['steps'] == 2 and 0 < result['inputs'] <= len(found)
  assert (tmp_path / 'run' / 'model').exists()


def test_a_world_without_files_has_its_real_images_beside(base, tmp_path):
  said = []
  folder = curated(base, tmp_path / 'run', said)
  rows = json.loads((folder / 'pair_dpo_data.json').read_text())
  assert rows and any(
    f'{len(rows)} of 12 inputs have both pairs' in line for line in said
  )
  for row in rows:
    assert row['img_path'] == str(
      folder / 'initial_images' / f'{row["id"]}.png'
    )
    assert row['prompt'] == row['caption']
  assert len(
    official_pairs.read_official(
      storage.path(folder / 'pair_dpo_data.json'), '', 'raise'
    )
  ) == len(rows)


def test_a_stop_costs_a_shard_at_most(run, data, player, tmp_path, monkeypatch):
  """What is there is not decoded again, and the JSON comes last."""
  monkeypatch.setattr(official_pairs, 'SHARD', 1)
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

    official_pairs.write_official(
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


def record(number, **changes):
  """A record as HermesFlow writes it."""
  return {
    'id': number,
    'img_path': 'real.png',
    'prompt': 'p',
    'caption': f'{number} red rings',
    'caption_win': ' a red ring',
    'caption_lose': ' a cross',
    'bert_score_win': 0.9,
    'bert_score_lose': 0.1,
    'image_win': 'w.png',
    'image_lose': 'l.png',
    'vqa_score_win': 1,
    'vqa_score_lose': 0.5,
  } | changes


def written(root, rows, form):
  """Writes a file of pairs and three images."""
  draw = np.random.default_rng(0)
  for name in ('real', 'w', 'l'):
    pixels = draw.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(root / f'{name}.png')
  path = root / 'pair_dpo_data.json'
  path.write_text(form(rows))
  return storage.path(path)


def appended(rows):
  return ''.join(json.dumps(row, indent=4) + ',\n' for row in rows)


@pytest.mark.parametrize('form', [json.dumps, appended])
def test_the_file_of_the_official_script_teaches(form, base, tmp_path):
  path = written(tmp_path, [record(n) for n in range(4)], form)
  result = learn.run(
    configured(base, path), str(tmp_path / 'run'), terminal.silent()
  )
  assert result['inputs'] == 4


@pytest.mark.parametrize(
  'changes, caption, image',
  [
    ({}, '', ''),
    ({'image_lose': None}, '', 'no image'),
    ({'vqa_score_win': None}, '', 'no score'),
    ({'bert_score_lose': None}, 'no score', ''),
    ({'caption_win': None}, 'no caption', ''),
    # With these scores the official script names images of another input.
    ({'vqa_score_win': 0.5}, '', 'no difference'),
    ({'bert_score_win': 0.05}, 'no difference', ''),
    ({'caption_lose': 'a red ring'}, 'same content', ''),
    ({'image_lose': 'w.png'}, '', 'same content'),
  ],
)
def test_a_pair_that_cannot_teach_is_dropped(
  changes, caption, image, player, tmp_path
):
  path = written(tmp_path, [record(0, **changes)], json.dumps)
  (row,) = official_pairs.load_official(
    path, '', player, tmp_path / 'data', 'a', 'raise', lambda line: None
  )
  assert (row['caption_dropped'], row['image_dropped']) == (caption, image)
  if not caption:
    assert row['caption_win'] == 'a red ring'


def test_keys_that_are_missing_are_null(player, tmp_path):
  row = record(0)
  for name in ('image_win', 'vqa_score_lose', 'prompt'):
    del row[name]
  (found,) = official_pairs.read_official(
    written(tmp_path, [row], json.dumps), '', 'raise'
  )
  assert found['image_dropped'] == 'no image'


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'id': None}, 'id is None'),
    ({'id': 'a/b'}, "id 'a/b' is not of"),
    ({'id': 0}, "id '0' comes twice"),
    ({'caption': ''}, "caption is ''"),
    ({'caption_win': 3}, 'caption_win must be text, got 3'),
    ({'image_win': 'x.png'}, 'there is no image'),
    ({'image_win': '../w.png'}, "image_win '../w.png' leaves"),
    ({'img_path': '/etc/passwd'}, "img_path '/etc/passwd' leaves"),
    ({'vqa_score_win': '1'}, 'vqa_score_win must be a finite number or null'),
    ({'bert_score_win': True}, 'bert_score_win must be a finite number'),
  ],
)
def test_a_fault_is_named_with_its_record(changes, said, tmp_path):
  rows = [record(0), record(1, **changes), record(2)]
  path = written(tmp_path, rows, appended)
  with pytest.raises(ValueError, match='record 2 .line 15') as error:
    official_pairs.read_official(path, '', 'raise')
  assert said in str(error.value)
  lines_ = []
  found = official_pairs.read_official(path, '', 'skip', lines_.append)
  assert [r['id'] for r in found] == ['0', '2']
  assert lines_[0].endswith('1 of 3 left out:')


def test_images_that_cannot_be_read_are_faults_of_their_record(
  player, tmp_path
):
  path = written(
    tmp_path, [record(0), record(1, image_win='bad.png')], json.dumps
  )
  (tmp_path / 'bad.png').write_bytes(b'no picture')
  with pytest.raises(ValueError, match="id '1': image .*bad.png"):
    official_pairs.load_official(
      path, '', player, tmp_path / 'a', 'a', 'raise', lambda line: None
    )
  said = []
  (row,) = official_pairs.load_official(
    path, '', player, tmp_path / 'a', 'a', 'skip', said.append
  )
  assert row['id'] == '0' and said[0].endswith('1 of 2 left out:')


def test_scores_are_finite(tmp_path):
  path = written(tmp_path, [record(0, vqa_score_win=math.inf)], json.dumps)
  with pytest.raises(ValueError, match='Infinity is not JSON'):
    official_pairs.read_official(path, '', 'raise')


def test_absolute_paths_may_lie_where_the_job_starts(tmp_path, monkeypatch):
  """As in the files that this program writes: real images are data."""
  data, run = tmp_path / 'data', tmp_path / 'run'
  data.mkdir()
  run.mkdir()
  for name in ('real', 'w', 'l'):
    Image.new('RGB', (8, 8)).save(data / f'{name}.png')
  row = {
    'id': 'a',
    'img_path': str(data / 'real.png'),
    'prompt': 'p',
    'caption': 'a ring',
    'caption_win': 'a ring',
    'caption_lose': 'a cross',
    'bert_score_win': 0.9,
    'bert_score_lose': 0.1,
    'image_win': str(data / 'w.png'),
    'image_lose': str(data / 'l.png'),
    'vqa_score_win': 1.0,
    'vqa_score_lose': 0.0,
  }
  path = run / official_pairs.NAME
  path.write_text(json.dumps([row]))
  monkeypatch.chdir(run)
  with pytest.raises(ValueError, match='leaves'):
    official_pairs.read_official(path, '', 'raise')
  monkeypatch.chdir(tmp_path)
  (record,) = official_pairs.read_official(path, '', 'raise')
  assert record['path'] == data / 'real.png'
