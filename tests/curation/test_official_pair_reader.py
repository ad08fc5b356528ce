"""Files of pairs in the official form: which records teach, and their faults."""

import io
import json
import math

import numpy as np
import official_runs
from PIL import Image
import pytest
import tiny_world

from hermesflow_jax.curation import official_pair_reader
from hermesflow_jax.curation import official_pair_writer
from hermesflow_jax.jobs import learn
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  return tiny_world.bundle(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def player(base):
  return official_runs.load_model(base)


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
    official_runs.learn_settings(base, path),
    str(tmp_path / 'run'),
    terminal.silent(),
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
  (row,) = official_pair_reader.load_official(
    path, '', player, tmp_path / 'data', 'a', 'raise', lambda line: None
  )
  assert (row['caption_dropped'], row['image_dropped']) == (caption, image)
  if not caption:
    assert row['caption_win'] == 'a red ring'


@pytest.mark.parametrize('score, reason', [(0.6, 'winner too weak'), (0.7, '')])
def test_a_winning_image_must_score_more_than_the_threshold(
  score, reason, player, tmp_path
):
  path = written(tmp_path, [record(0, vqa_score_win=score)], json.dumps)
  (row,) = official_pair_reader.load_official(
    path, '', player, tmp_path / 'data', 'a', 'raise', lambda line: None, 0.6
  )
  assert (row['caption_dropped'], row['image_dropped']) == ('', reason)


def test_keys_that_are_missing_are_null(player, tmp_path):
  row = record(0)
  for name in ('image_win', 'vqa_score_lose', 'prompt'):
    del row[name]
  (loaded,) = official_pair_reader.read_official(
    written(tmp_path, [row], json.dumps), '', 'raise'
  )
  assert loaded['image_dropped'] == 'no image'


@pytest.mark.parametrize(
  'changes, fault',
  [
    ({'id': None}, 'id must be text, got None'),
    ({'id': 'a/b'}, 'id must be 1 to 128 of'),
    ({'id': 0}, "id '0' comes twice"),
    ({'caption': ''}, "caption must be text, got ''"),
    ({'caption_win': 3}, 'caption_win must be text, got 3'),
    ({'image_win': 'x.png'}, 'there is no image'),
    ({'image_win': '../w.png'}, "image_win '../w.png' leaves"),
    ({'img_path': '/etc/passwd'}, "img_path '/etc/passwd' leaves"),
    ({'vqa_score_win': '1'}, 'vqa_score_win must be a finite number or null'),
    ({'bert_score_lose': 10**400}, 'bert_score_lose must be a finite number'),
    ({'bert_score_win': True}, 'bert_score_win must be a finite number'),
  ],
)
def test_a_fault_is_named_with_its_record(changes, fault, tmp_path):
  rows = [record(0), record(1, **changes), record(2)]
  path = written(tmp_path, rows, appended)
  with pytest.raises(ValueError, match='record 2 .line 15') as error:
    official_pair_reader.read_official(path, '', 'raise')
  assert fault in str(error.value)
  messages = []
  records = official_pair_reader.read_official(
    path, '', 'skip', messages.append
  )
  assert [r['id'] for r in records] == ['0', '2']
  assert messages[0].endswith('1 of 3 left out:')


def test_records_without_pairs_are_no_file_of_pairs(tmp_path):
  rows = [{'id': 'a', 'caption': 'a ring', 'img_path': 'none.png'}]
  path = written(tmp_path, rows, json.dumps)
  for policy in ('raise', 'skip'):
    with pytest.raises(ValueError, match='whose records hold none of') as error:
      official_pair_reader.read_official(path, '', policy)
    assert 'none.png' not in str(error.value)


def test_images_that_cannot_be_read_are_faults_of_their_record(
  player, tmp_path
):
  path = written(
    tmp_path, [record(0), record(1, image_win='bad.png')], json.dumps
  )
  (tmp_path / 'bad.png').write_bytes(b'no picture')
  with pytest.raises(ValueError, match="id '1': image .*bad.png"):
    official_pair_reader.load_official(
      path, '', player, tmp_path / 'a', 'a', 'raise', lambda line: None
    )
  messages = []
  (row,) = official_pair_reader.load_official(
    path, '', player, tmp_path / 'a', 'a', 'skip', messages.append
  )
  assert row['id'] == '0' and messages[0].endswith('1 of 2 left out:')


def test_all_faults_of_all_pairs_are_named_at_once(tmp_path):
  rows = [record(n) for n in range(3)]
  rows[0] |= {'caption': 'a\0', 'vqa_score_win': 'x'}
  rows[1] |= {'img_path': '../x.png', 'image_lose': 'none.png'}
  rows[2] |= {'image_win': 'bad.png', 'image_lose': 'half.png'}
  path = written(tmp_path, rows, json.dumps)
  (tmp_path / 'bad.png').write_bytes(b'GIF89a')
  data = io.BytesIO()
  Image.effect_noise((64, 64), 50).save(data, 'png')
  (tmp_path / 'half.png').write_bytes(data.getvalue()[:2000])
  with pytest.raises(ValueError) as error:
    official_pair_reader.read_official(path, '', 'raise')
  for fault in (
    'caption must have no control characters',
    "vqa_score_win must be a finite number or null, got 'x'",
    'leaves',
    'there is no image',
    'must be PNG, JPEG or WebP, got a GIF file',
    'half.png cannot be read',
  ):
    assert fault in str(error.value)


def test_scores_are_finite(tmp_path):
  path = written(tmp_path, [record(0, vqa_score_win=math.inf)], json.dumps)
  with pytest.raises(ValueError, match='Infinity is not JSON'):
    official_pair_reader.read_official(path, '', 'raise')


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
  path = run / official_pair_writer.NAME
  path.write_text(json.dumps([row]))
  monkeypatch.chdir(run)
  with pytest.raises(ValueError, match='leaves'):
    official_pair_reader.read_official(path, '', 'raise')
  monkeypatch.chdir(tmp_path)
  (record,) = official_pair_reader.read_official(path, '', 'raise')
  assert record['path'] == data / 'real.png'
