"""Results of a finished run that are gone or damaged are made again."""

import fcntl
import json
import pathlib
import shutil

import curate_runs
import learn_runs
import numpy as np
from PIL import Image
import pytest
import tiny_jobs
import unread_models

import configs.understand
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.curation import official_pair_writer
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import default_workdir
from hermesflow_jax.jobs.setup import job_start
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import run_summary


@pytest.fixture
def draw(base, tmp_path):
  """Runs `generate`: prompts -> (records, printed lines)."""

  def call(*prompts, workdir=tmp_path / 'drawn'):
    console, lines = tiny_jobs.heard()
    config = tiny_jobs.job_config(base, prompts=prompts or ('a red ring',))
    return generate.run(config, workdir, console), lines

  return call


@pytest.mark.parametrize('damage', ['gone', 'cut', 'empty'])
def test_an_image_is_drawn_again(draw, tmp_path, damage):
  (row,), _ = draw()
  image = tmp_path / 'drawn' / row['file']
  whole = image.read_bytes()
  if damage == 'gone':
    image.unlink()
  else:
    image.write_bytes(whole[: len(whole) // 2] if damage == 'cut' else b'')
  (again,), lines = draw()
  assert again == row and image.read_bytes() == whole
  assert f'{image} is gone or damaged: making this again' in lines
  assert 'this run is finished' in draw()[1][-1]


@pytest.mark.parametrize(
  'text', ['{"file', '', '[1]\n', '\xff', '{}\n', '[' * 99_999]
)
def test_a_damaged_list_of_images_is_written_again(draw, tmp_path, text):
  rows, _ = draw()
  listed = tmp_path / 'drawn' / 'images.jsonl'
  before = listed.read_bytes()
  listed.write_bytes(text.encode('latin-1'))
  again, lines = draw()
  assert again == rows and listed.read_bytes() == before
  assert any(f'{listed} is damaged (' in line for line in lines)


def test_other_prompts_in_the_default_folder_move_the_older_images(
  draw, tmp_path
):
  workdir = default_workdir.DefaultWorkdir(tmp_path / 'drawn')
  draw(workdir=workdir)
  first = {p.name: p.read_bytes() for p in (tmp_path / 'drawn').rglob('*.png')}
  for number, prompt in enumerate(['two circles', 'a blue star'], 1):
    rows, lines = draw(prompt, workdir=workdir)
    assert [row['prompt'] for row in rows] == [prompt]
    moved = tmp_path / f'drawn_{number}'
    assert f'is now {moved}' in lines[0] and moved.is_dir()
    assert (tmp_path / 'drawn' / rows[0]['file']).exists()
  kept = {p.name: p.read_bytes() for p in (tmp_path / 'drawn_1').rglob('*.png')}
  assert kept == first
  assert not list(tmp_path.rglob('*.lock'))
  # The same command again draws nothing, and moves nothing.
  assert 'this run is finished' in draw(prompt, workdir=workdir)[1][-1]
  assert not (tmp_path / 'drawn_3').exists()


def test_a_named_folder_is_never_moved(draw, tmp_path):
  draw()
  with pytest.raises(ValueError, match='belongs to a run with other settings'):
    draw('two circles')
  assert not (tmp_path / 'drawn_1').exists()


def test_answers_in_a_damaged_part_are_given_again(base, tmp_path, monkeypatch):
  pixels = np.zeros((64, 64, 3), np.uint8)
  Image.fromarray(pixels).save(tmp_path / 'a.png')
  config = tiny_jobs.configured(
    understand, configs.understand, base, images=(str(tmp_path / 'a.png'),)
  )
  console, lines = tiny_jobs.heard()
  rows = understand.run(config, tmp_path / 'run', console)
  for text in ('{"image', '{}\n', '{"image": "a", "answers": 3}\n'):
    for name in ('answers.jsonl', 'parts/000000.jsonl'):
      (tmp_path / 'run' / name).write_text(text)
    assert understand.run(config, tmp_path / 'run', console) == rows
  assert any('answers.jsonl is damaged (' in line for line in lines)


@pytest.mark.parametrize(
  'name', ['manifest.json', 'pairs.jsonl', 'tfds', 'changed']
)
def test_pairs_are_written_again(
  base, whole_curation, tmp_path, name, monkeypatch
):
  folder = tmp_path / 'run'
  shutil.copytree(whole_curation, folder)
  before = curate_runs.outcome(folder)
  if name == 'tfds':
    next((folder / name).rglob('*.array_record*')).unlink()
  elif name == 'changed':
    next((folder / 'tfds').rglob('*.array_record*')).write_bytes(b'x')
  elif name == 'pairs.jsonl':
    (folder / name).unlink()
  else:
    (folder / name).write_text('{"round": ')
  manifest, lines = curate_runs.run(base, folder)
  assert any('again' in line for line in lines)
  assert curate_runs.outcome(folder) == before
  assert all((folder / file).exists() for file in manifest['sha256'])
  unread_models.refuse_reading(monkeypatch)
  assert 'this run is finished' in curate_runs.run(base, folder)[1][-1]


def test_official_files_of_a_finished_curation_are_written(
  base, whole_curation, tmp_path, monkeypatch
):
  """`official` may change: the pairs stay, nothing is drawn again."""
  folder = tmp_path / 'run'
  shutil.copytree(whole_curation, folder)
  before = curate_runs.outcome(folder)
  for name in ('draw', 'describe', 'answer', 'encode'):
    monkeypatch.setattr(unified_model.UnifiedModel, name, None)
  curate_runs.run(base, folder, official=True)
  assert curate_runs.outcome(folder) == before
  rows = json.loads((folder / official_pair_writer.NAME).read_text())
  assert [row['id'] for row in rows] == [
    row['id']
    for row in curate_runs.rows_of(folder)
    if not row['caption_dropped'] and not row['image_dropped']
  ]
  for row in rows:
    for name in ('img_path', 'image_win', 'image_lose'):
      assert pathlib.Path(row[name]).is_file()
  lines = curate_runs.run(base, folder, official=True)[1]
  assert 'this run is finished' in lines[-1]


def test_processes_meet_outside_the_lock_of_a_curation(
  base, whole_curation, tmp_path, monkeypatch
):
  """Official files are written by all processes; one held the others' lock."""
  folder = tmp_path / 'run'
  shutil.copytree(whole_curation, folder)
  (folder / 'manifest.json').unlink()
  write, calls = official_pair_writer.write_official, []

  def meet(*args, **kwargs):
    with open(folder / 'finish.lock', 'w', encoding='utf-8') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    calls.append(write(*args, **kwargs))

  monkeypatch.setattr(official_pair_writer, 'write_official', meet)
  curate_runs.run(base, folder, official=True)
  assert calls and (folder / official_pair_writer.NAME).exists()


@pytest.fixture
def learn_again(base, pairs, learned, tmp_path):
  """A copy of a finished run, and a function that starts it again."""
  folder, _ = learned
  shutil.copytree(folder, tmp_path / 'run')
  console, lines = tiny_jobs.heard()

  def call():
    config = learn_runs.configured(base, pairs)
    return learn.run(config, str(tmp_path / 'run'), console), lines

  return tmp_path / 'run', call


@pytest.mark.parametrize('text', [None, '{"inputs": ', '[]'])
def test_results_come_from_the_model_that_was_learned(
  learn_again, learned, monkeypatch, text
):
  folder, call = learn_again
  (folder / 'results.json').unlink()
  if text:
    (folder / 'results.json').write_text(text)
  monkeypatch.setattr(learn.learning, 'learn_round', None)
  results, lines = call()
  assert results == learned[1]
  assert json.loads((folder / 'results.json').read_text()) == results
  if text:
    assert any('results.json is damaged (' in line for line in lines)


@pytest.mark.parametrize('damage', ['gone', 'record'])
def test_a_model_is_learned_again(learn_again, learned, damage):
  folder, call = learn_again
  if damage == 'gone':
    shutil.rmtree(folder / 'model')
  else:
    shutil.rmtree(folder / 'model' / 'meta')
  results, lines = call()
  assert any(
    f'{folder / "model"} is gone or damaged: making this again' in line
    for line in lines
  )
  assert results['steps'] == learned[1]['steps']
  hashes = [
    trained_model.read_record(str(path / 'model')).sha256
    for path in (folder, learned[0])
  ]
  assert hashes[0] == hashes[1]


def test_what_a_finished_self_play_lacks_is_known(tmp_path):
  names = [
    'report.html',
    'round_0/evaluation.json',
    'round_1/evaluation.json',
    'round_1/pairs.jsonl',
  ]
  for name in names:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('<html></html>\n')
  assert run_summary.missing_files(tmp_path, 1) == []
  (tmp_path / 'report.html').write_text('<html>')
  for name in names[1:]:
    (tmp_path / name).unlink()
  console, lines = tiny_jobs.heard()
  assert not job_start.all_exist(
    console, lambda: run_summary.missing_files(tmp_path, 1)
  )
  report = tmp_path / 'report.html'
  assert lines == [
    f'{report} and 3 more are gone or damaged: making this again'
  ]


@pytest.mark.parametrize('form', ['checkpoint', 'bundle'])
def test_a_model_of_an_earlier_release_is_finished(
  learn_again, base, monkeypatch, form
):
  """Commit 423190d wrote no inputs and steps, or a bundle."""
  folder, call = learn_again
  if form == 'bundle':
    shutil.rmtree(folder / 'model')
    shutil.copytree(base, folder / 'model')
  monkeypatch.setattr(
    job_start.checkpoint, 'read_metadata', lambda path: {'kind': 'showo'}
  )
  monkeypatch.setattr(learn.learning, 'learn_round', None)
  results, lines = call()
  assert 'this run is finished' in lines[-1]
