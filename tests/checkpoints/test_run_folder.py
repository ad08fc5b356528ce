"""The folder of a run means the model that it wrote last."""

import json

import jax.numpy as jnp
import pytest

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import run_folder


def run_of(path, files=(), **settings):
  """Writes the folder of a run with some settings."""
  path.mkdir()
  (path / 'settings.json').write_text(json.dumps(settings))
  for name in files:
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text('{}')
  return path


def test_rounds_are_ordered_by_number_and_only_whole_checkpoints_count(
  tmp_path,
):
  run = run_of(tmp_path / 'run', play={})
  for number in (2, 9, 10):
    checkpoint.save(
      str(run / 'checkpoints' / str(number)), {'a': jnp.zeros(1)}, {}
    )
  # As orbax leaves a write that was killed.
  (run / 'checkpoints' / '11.orbax-checkpoint-tmp-0').mkdir()
  assert run_folder.saved_rounds(run) == [2, 9, 10]
  assert run_folder.newest_model(run) == run / 'checkpoints' / '10'
  assert run_folder.newest_model(str(run / 'checkpoints' / '2')) == (
    run / 'checkpoints' / '2'
  )


def test_a_model_means_itself_and_so_does_a_folder_of_something_else(tmp_path):
  (tmp_path / 'config.json').write_text('{}')
  assert run_folder.newest_model(tmp_path) == tmp_path
  assert run_folder.newest_model(tmp_path / 'none') == tmp_path / 'none'


@pytest.mark.parametrize(
  'places, expected',
  [
    ([''], ''),
    (['training/adapters'], 'training/adapters'),
    (
      ['round_2/training/adapters', 'round_10/training/adapters'],
      'round_10/training/adapters',
    ),
    (['model'], None),
  ],
)
def test_a_run_means_its_newest_adapters(
  tmp_path, monkeypatch, places, expected
):
  monkeypatch.setenv('HOME', str(tmp_path))
  run = tmp_path / 'run'
  for place in places:
    (run / place).mkdir(parents=True, exist_ok=True)
    (run / place / '_CHECKPOINT_METADATA').touch()
  actual = run_folder.newest_adapters('~/run')
  assert actual == (None if expected is None else run / expected)


@pytest.mark.parametrize(
  'part, number', [('round_1', 1), ('round_0', 2), ('checkpoints', 2)]
)
def test_a_part_of_a_run_that_is_no_model_names_those_that_are(
  tmp_path, part, number
):
  run = run_of(tmp_path / 'run', ['round_0/a', 'round_1/a'], play={})
  for saved in (1, 2):
    checkpoint.save(
      str(run / 'checkpoints' / str(saved)), {'a': jnp.zeros(1)}, {}
    )
  message = f'{run / part} holds no model; give {run}, or {run}/checkpoints/'
  with pytest.raises(ValueError, match=f'{message}{number}$'):
    run_folder.newest_model(run / part)


@pytest.mark.parametrize(
  'files, settings, expected',
  [
    (['results.json'], {'pairs': {}}, 'run/model'),
    (['results.json', 'model/a'], {'export': 'x', 'mixture': {}}, 'run/model'),
    (['results.json'], {'export': 'x', 'quantizer_warmup': 1}, 'x'),
  ],
)
def test_a_finished_run_means_what_it_wrote(
  tmp_path, monkeypatch, files, settings, expected
):
  monkeypatch.chdir(tmp_path)
  run_of(tmp_path / 'run', files, **settings)
  assert str(run_folder.newest_model('run')) == expected


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'play': {}}, 'has no finished round yet; run the same command'),
    ({'pairs': {}}, 'is not finished, and has no model yet'),
    ({'export': 'x'}, 'is not finished, and has no model yet'),
    ({'prompts': []}, 'trains no model'),
  ],
)
def test_a_run_without_a_model_is_named(tmp_path, settings, message):
  run = run_of(tmp_path / 'run', ['model/a'], **settings)
  with pytest.raises(ValueError, match=f'the run in {run} {message}'):
    run_folder.newest_model(run)
