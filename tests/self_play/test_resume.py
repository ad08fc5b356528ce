"""Rounds that are stopped resume, and end with the same numbers."""

import dataclasses
import gc
import json
import os
import pathlib
import shutil

import pytest
import self_play_runs
import unread_models

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import terminal


def test_a_finished_run_says_so_and_changes_nothing(config, whole, monkeypatch):
  unread_models.refuse_reading(monkeypatch)

  def state():
    files = [p for p in whole.rglob('*') if p.is_file()]
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}

  before, output = state(), []
  silent = terminal.silent()
  actual = pair_dpo.run(
    config, str(whole), terminal.Console(output.append, silent.progress)
  )
  assert state() == before
  assert actual == json.loads((whole / 'results.json').read_text())
  assert 'this run is finished' in ' '.join(output)
  assert 'to start afresh' in ' '.join(output)


def test_a_finished_run_that_plays_more_rounds_is_one_of_so_many(
  config, whole, tmp_path
):
  """The inputs of a new round may have captions that were unseen before."""
  run = tmp_path / 'run'
  first = dataclasses.replace(
    config, play=dataclasses.replace(config.play, rounds=1)
  )
  before = pair_dpo.run(first, str(run), terminal.silent())
  assert len(before['rounds']) == 2
  checkpoint_before = checkpoint.array_hashes(str(run / 'checkpoints' / '1'))
  output = []
  console = dataclasses.replace(terminal.silent(), say=output.append)
  pair_dpo.run(config, str(run), console)
  assert any(
    '1 of 2 rounds are finished, continuing' in line for line in output
  )
  assert (
    checkpoint.array_hashes(str(run / 'checkpoints' / '1')) == checkpoint_before
  )
  self_play_runs.assert_same_run(config, run, whole)
  results = json.loads((run / 'results.json').read_text())
  assert len(results['rounds']) == 3
  with pytest.raises(
    ValueError,
    match=('play.rounds must be at least 2, the rounds played in .*, got 1'),
  ):
    pair_dpo.run(first, str(run), terminal.silent())


def until_finished(config, run, attempt, most):
  """Starts a run again and again; returns how often it was stopped."""
  for stops in range(most):
    try:
      attempt(stops)
    except KeyboardInterrupt:
      continue
    return stops
  raise AssertionError(f'not finished after {most} starts')


def test_a_run_stopped_in_any_phase_ends_the_same(config, whole, tmp_path):
  run = tmp_path / 'run'

  def attempt(stops):
    left = 6 * stops + 1

    def progress(label):
      def wrap(items):
        nonlocal left
        for item in items:
          if not left:
            raise KeyboardInterrupt
          left -= 1
          yield item

      return wrap

    console = terminal.Console(lambda line: None, progress)
    pair_dpo.run(config, str(run), console)

  assert until_finished(config, run, attempt, most=60) > 9
  self_play_runs.assert_same_run(config, run, whole)


def test_a_run_stopped_in_any_write_ends_the_same(
  config, whole, tmp_path, monkeypatch
):
  run, met = tmp_path / 'run', set()
  skipped = {str(run / 'checkpoints' / '2')} | {
    str(run / 'round_2' / name)
    for name in (
      'scenes.jsonl',
      'scenes.npz',
      'scenes_unseen.jsonl',
      'scenes_unseen.npz',
      'evaluation.json',
      'codes.npz',
      'pairs.jsonl',
      'judged/000000.npz',
      'judged/000000.record.json',
      'curation.json',
    )
  }
  write, save = output_files.write_atomically, checkpoint.save

  def stop_once(path):
    # Round 2 is written as round 1 is.
    if path not in met and path not in skipped:
      met.add(path)
      raise KeyboardInterrupt

  def stopped_write(path, data):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + '.tmp').write_text('{"ha')
    stop_once(str(path))
    write(path, data)

  def stopped_save(path, tree, meta):
    save(path, tree, meta)
    if path not in met and path not in skipped:
      # As orbax leaves a write that was killed.
      os.rename(path, f'{path}.orbax-checkpoint-tmp-1')
    stop_once(path)

  monkeypatch.setattr(output_files, 'write_atomically', stopped_write)
  monkeypatch.setattr(checkpoint, 'save', stopped_save)

  def attempt(stops):
    del stops
    pair_dpo.run(config, str(run), terminal.silent())

  stops = until_finished(config, run, attempt, most=30)
  assert stops == len(met) > 11
  self_play_runs.assert_same_run(config, run, whole)
  # Of the names that the run has written none is left half-written.
  assert not list(run.rglob('*.tmp'))


# Orbax leaves unfinished reads behind when one of them fails.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_damaged_checkpoint_is_named_and_made_again(config, whole, tmp_path):
  run = pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))
  (run / 'results.json').unlink()
  # Which files hold the arrays is orbax's affair, so each is damaged.
  for path in (run / 'checkpoints' / '2' / 'arrays').glob('**/d/*'):
    damaged = bytearray(path.read_bytes())
    for place in range(0, len(damaged), 16):
      damaged[place] ^= 64
    path.write_bytes(damaged)
  output = []
  console = dataclasses.replace(terminal.silent(), say=output.append)
  pair_dpo.run(config, str(run), console)
  gc.collect()
  (output,) = (line for line in output if 'is trained again' in line)
  assert 'checkpoints/2' in output and 'round_2' in output
  last = pathlib.Path('checkpoints', '2')
  assert checkpoint.array_hashes(str(run / last)) == checkpoint.array_hashes(
    str(whole / last)
  )


def test_a_run_of_an_earlier_release_goes_on(config, whole, tmp_path):
  """Its rounds hold the transformer alone, under names without a prefix."""
  run = pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))
  (run / 'results.json').unlink()
  shutil.rmtree(run / 'round_2')
  checkpoint.remove(run / 'checkpoints' / '2')
  first = run / 'checkpoints' / '1'
  model, meta = (
    trained_model.load_parts(str(first)).model,
    checkpoint.read_metadata(str(first)),
  )
  checkpoint.remove(first)
  del meta[trained_model.KEY]
  checkpoint.save(str(first), model, meta)
  output = []
  console = dataclasses.replace(terminal.silent(), say=output.append)
  pair_dpo.run(config, str(run), console)
  assert 'round_1: checkpoint found, skipping training' in output
  last = pathlib.Path('checkpoints', '2')
  assert checkpoint.array_hashes(str(run / last)) == checkpoint.array_hashes(
    str(whole / last)
  )
