"""Starts in the same folder at the same time: each looks again under the lock."""

import contextlib
import dataclasses
import json

import pytest
import tiny_world

from hermesflow_jax.jobs.setup import default_workdir
from hermesflow_jax.jobs.setup import folder_claim
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import terminal


@pytest.fixture
def config(base):
  return tiny_world.self_play(base)


def with_images(config, images):
  play = dataclasses.replace(config.play, images=images)
  return dataclasses.replace(config, play=play)


@workdir_claim.releases_workdir
def claim(folder, config):
  """Claims a default folder, and writes a result into it."""
  lines = []
  workdir_claim.claim_workdir(
    default_workdir.DefaultWorkdir(folder),
    config,
    dataclasses.replace(terminal.silent(), say=lines.append),
  )
  (folder / 'images.jsonl').write_text('{}\n')
  return lines


@pytest.mark.parametrize(
  'images, moved', [(7, ['run_1']), (8, ['run_1', 'run_2'])]
)
def test_a_start_that_came_first_is_moved_only_if_its_settings_differ(
  config, tmp_path, monkeypatch, images, moved
):
  """Both saw the older run before either held the lock."""
  folder = tmp_path / 'run'
  claim(folder, config)
  wait = folder_claim.lock_turn.wait

  @contextlib.contextmanager
  def late(*args, **options):
    monkeypatch.setattr(folder_claim.lock_turn, 'wait', wait)
    claim(folder, with_images(config, 7))
    with wait(*args, **options) as lock:
      yield lock

  monkeypatch.setattr(folder_claim.lock_turn, 'wait', late)
  lines = claim(folder, with_images(config, images))
  assert sorted(p.name for p in tmp_path.iterdir()) == ['run', *moved]
  expected = 'resuming in' if images == 7 else f'is now {folder}_2'
  assert expected in lines[0]
  for name, number in [*zip(moved, (3, 7)), ('run', images)]:
    saved = json.loads((tmp_path / name / 'settings.json').read_text())
    assert saved['play']['images'] == number
  assert not list(tmp_path.rglob('*.lock'))


def test_a_folder_that_is_renamed_at_the_start_is_made_again(
  config, tmp_path, monkeypatch
):
  folder = tmp_path / 'run'
  claim(folder, config)
  wait, calls = folder_claim.lock_turn.wait, []

  @contextlib.contextmanager
  def renamed(*args, **options):
    if not calls:
      calls.append(folder.rename(tmp_path / 'older'))
    with wait(*args, **options) as lock:
      yield lock

  monkeypatch.setattr(folder_claim.lock_turn, 'wait', renamed)
  claim(folder, with_images(config, 7))
  assert sorted(p.name for p in tmp_path.iterdir()) == ['older', 'run']


def test_a_mistake_moves_the_older_run_back(config, tmp_path):
  """Weights are read after the claim, and may not fit the settings."""
  folder = tmp_path / 'run'
  claim(folder, config)
  before = (folder / 'settings.json').read_bytes()
  lines = []

  @workdir_claim.releases_workdir
  def mistaken(error):
    workdir_claim.claim_workdir(
      default_workdir.DefaultWorkdir(folder),
      with_images(config, 7),
      dataclasses.replace(terminal.silent(), say=lines.append),
    )
    assert (tmp_path / 'run_1' / 'images.jsonl').exists()
    raise error

  with pytest.raises(ValueError, match='of another size'):
    mistaken(ValueError('a model of another size'))
  assert lines[-1] == f'{folder}_1 is {folder} again'
  assert [p.name for p in tmp_path.iterdir()] == ['run']
  assert (folder / 'settings.json').read_bytes() == before
  assert (folder / 'images.jsonl').exists()
  # A stopped run resumes, so it keeps its folder.
  with pytest.raises(KeyboardInterrupt):
    mistaken(KeyboardInterrupt())
  assert sorted(p.name for p in tmp_path.iterdir()) == ['run', 'run_1']
