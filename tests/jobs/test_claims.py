"""A start that fails costs no folder, and two jobs never share one."""

import dataclasses
import json
import shutil

import command_line
import curate_runs
import pytest
import tiny_world

from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import folder_lock
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import training_loop
import main


@pytest.fixture
def flags(base):
  return [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']


@pytest.fixture
def fails(monkeypatch):
  """Makes the work after the claim of a folder raise an error."""

  def call(error):
    def work(*args, **kwargs):
      raise error

    monkeypatch.setattr(pair_dpo, 'play_data', work)

  return call


def settings_of(folder):
  return json.loads((folder / 'settings.json').read_text())


def test_a_run_without_results_may_start_with_other_settings(
  start, stopped, flags, tmp_path, capfd
):
  assert start(*flags)[0] == 130
  # Metrics of steps that no checkpoint holds, and caches, are no results.
  for name in ('round_1/training/metrics.jsonl', 'data/codes.npz'):
    (tmp_path / 'run' / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'run' / name).write_text('')
  assert main.main(['main.py', *flags, '--config.play.images=5']) == 130
  output = capfd.readouterr().out
  assert (
    'the run in run has no results yet, and starts afresh; config.play.images '
    '4 -> 5' in output
  )
  assert settings_of(tmp_path / 'run')['play']['images'] == 5


def test_settings_of_another_program_are_left_alone(
  start, stopped, flags, tmp_path
):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'settings.json').write_text('{"editor.tabSize": 2}')
  command_line.one_line(
    start(*flags), 'it holds files that are not from a run: settings.json'
  )
  assert settings_of(tmp_path / 'run') == {'editor.tabSize': 2}


def test_a_mistake_leaves_no_trace(start, flags, fails, tmp_path):
  fails(ValueError('a question is too long'))
  command_line.one_line(
    start(*flags[:2], '--workdir=a/b/run'), 'a question is too long'
  )
  assert not any(tmp_path.iterdir())
  # A folder that the user made stays, with what it held.
  (tmp_path / 'run' / 'lost+found').mkdir(parents=True)
  command_line.one_line(start(*flags), 'a question is too long')
  assert [p.name for p in (tmp_path / 'run').iterdir()] == ['lost+found']


def test_faults_of_files_cost_no_folder(base, tmp_path, monkeypatch):
  (tmp_path / 'data').mkdir()
  source = tiny_world.files(tmp_path / 'data', 'preference', 3)

  def run(inputs, **changes):
    curate.run(
      dataclasses.replace(
        curate_runs.configured(base, inputs=inputs),
        files=dataclasses.replace(source, **changes),
      ),
      str(tmp_path / 'run'),
      terminal.silent(),
    )

  with pytest.raises(ValueError, match='must have 4 records, got 3'):
    run(4)
  (tmp_path / 'data' / 'preference-1.png').write_bytes(b'no picture')
  with pytest.raises(ValueError, match='preference-1'):
    run(3)
  assert not (tmp_path / 'run').exists()
  # The advised command runs in the same folder.
  monkeypatch.setattr(curate, '_gather', _interrupt)
  with pytest.raises(KeyboardInterrupt):
    run(3, on_error='skip')


def test_a_mistake_of_a_later_start_leaves_the_run_as_it_was(
  start, flags, fails, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(pair_dpo, 'play_data', _interrupt)
    assert start(*flags)[0] == 130
  before = command_line.everything(tmp_path / 'run')
  fails(ValueError('too few records'))
  command_line.one_line(start(*flags, '--config.inputs=9'), 'too few records')
  assert command_line.everything(tmp_path / 'run') == before


def _interrupt(*args):
  raise KeyboardInterrupt


def test_a_rate_that_diverges_at_once_may_be_changed(
  start, flags, fails, tmp_path
):
  fails(training_loop.NonFiniteError('11 of 11 steps were not finite'))
  assert start(*flags, '--config.play.optim.lr=100.0')[0] == 1
  # The evaluation of the base model, and candidates, do not depend on it.
  (tmp_path / 'run' / 'round_0').mkdir()
  (tmp_path / 'run' / 'round_0' / 'evaluation.json').write_text('{}')
  assert start(*flags, '--config.play.batch=8')[0] == 1
  command_line.one_line(
    start(*flags, '--config.play.images=7'), 'config.play.images 4 -> 7'
  )
  assert settings_of(tmp_path / 'run')['play']['optim']['lr'] != 100
  # What a checkpoint has learned does.
  step = tmp_path / 'run' / 'round_1' / 'training' / 'steps' / '5'
  step.mkdir(parents=True)
  (step / 'arrays').write_text('')
  command_line.one_line(start(*flags), 'config.play.batch 8 -> 16')


@pytest.mark.parametrize(
  'name',
  [
    'lost+found',
    '.DS_Store',
    'Thumbs.db',
    '.nfs000000001',
    '.snapshot',
    '._settings.json',
    'log.txt',
    'slurm-17.out',
  ],
)
def test_files_of_systems_do_not_count(start, stopped, flags, tmp_path, name):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / name).write_text('')
  assert start(*flags)[0] == 130
  assert (tmp_path / 'run' / 'settings.json').exists()
  assert start(*flags, '--config.play.batch=8')[0] == 130


def test_two_jobs_never_share_a_folder(start, stopped, flags, tmp_path):
  assert start(*flags)[0] == 130
  assert not (tmp_path / 'run' / 'run.lock').exists()
  lock = folder_lock.FolderLock(tmp_path / 'run', 'run')
  lock.acquire()
  before = command_line.everything(tmp_path / 'run')
  for changes in ([], ['--config.play.batch=8']):
    command_line.one_line(
      start(*flags, *changes),
      'workdir run cannot be used: process ',
      'uses it since',
      'wait until it has ended, or give another --workdir',
    )
  assert command_line.everything(tmp_path / 'run') == before
  lock.release()
  assert start(*flags)[0] == 130


def test_shares_hold_a_folder_beside_each_other_alone(base, tmp_path):
  config = tiny_world.self_play(base)

  @workdir_claim.releases_workdir
  def run(*shares):
    for share in shares:
      workdir_claim.claim_workdir(
        str(tmp_path / 'run'), config, terminal.silent(), share=share
      )

  run((0, 2), (1, 2))
  for shares in ((0, 2), (0, 2)), ((0, 2), (0, 1)), ((0, 2), (1, 3)):
    with pytest.raises(ValueError, match='uses it since'):
      run(*shares)
  run((0, 2), (1, 2))
  assert [p.name for p in (tmp_path / 'run').iterdir()] == ['settings.json']


def test_a_bucket_is_locked_too(base, bucket):
  config = tiny_world.self_play(base)

  @workdir_claim.releases_workdir
  def run(times):
    for _ in range(times):
      workdir_claim.claim_workdir('gs://bucket/run', config, terminal.silent())

  with pytest.raises(ValueError, match='uses it since'):
    run(2)
  assert bucket.names('run/') == []
  run(1)
  assert bucket.names('run/') == ['run/settings.json']


def test_a_workdir_may_begin_with_the_home_folder(
  start, stopped, base, tmp_path, monkeypatch
):
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  shutil.copytree(base, tmp_path / 'home' / 'base')
  code, _ = start(
    command_line.CONFIG, '--config.init_from=~/base', '--workdir=~/x'
  )
  assert code == 130
  assert (tmp_path / 'home' / 'x' / 'settings.json').exists()
  assert not (tmp_path / '~').exists()


@pytest.mark.parametrize(
  'name, output',
  [
    ('', 'workdir must be a folder, got'),
    (' ', 'workdir must be a folder, got'),
    ('a' * 300, 'got 300 bytes with a name of 300; give a shorter --workdir'),
    (
      'b' * 99 + ('/' + 'b' * 99) * 60,
      'got 6099 bytes with a name of 99; give',
    ),
  ],
)
def test_an_unusable_workdir_is_refused(start, base, name, output):
  flags = [f'--config.init_from={base}', f'--workdir={name}']
  command_line.one_line(start(command_line.CONFIG, *flags), output)


def test_the_same_content_may_lie_elsewhere(start, stopped, base, tmp_path):
  (tmp_path / 'data').mkdir()
  flags = [command_line.CONFIG, '--workdir=run']
  paths = {}
  for split, name, count in (
    ('preference', 'inputs', 6),
    ('eval', 'held_out', 4),
  ):
    tiny_world.files(tmp_path / 'data', split, count)
    paths[name] = f'{split}.jsonl'
  flags.append('--config.inputs=6')
  flags += ['--config.held_out=4', '--config.fresh_inputs=False']

  def own(folder, model):
    config = tmp_path / 'own.py'
    files = {
      name: {
        'annotations': f'{folder}/{path}',
        'images': str(folder),
        'questions': '',
        'on_error': 'raise',
      }
      for name, path in paths.items()
    }
    config.write_text(
      'from configs import pair_dpo\n'
      'def get_config():\n'
      '  config = pair_dpo.get_config()\n'
      f'  with config.unlocked(): config.files = {files!r}\n'
      '  config.unseen = 0\n'
      '  return config\n'
    )
    return [f'--config={config}', f'--config.init_from={model}', *flags[1:]]

  assert start(*own(tmp_path / 'data', base))[0] == 130
  shutil.copytree(base, tmp_path / 'model')
  (tmp_path / 'run' / 'round_0').mkdir()
  (tmp_path / 'run' / 'round_0' / 'evaluation.json').write_text('{}')
  moved = (tmp_path / 'data').rename(tmp_path / 'moved')
  assert start(*own(moved, tmp_path / 'model'))[0] == 130
  # Another image of the same name is another input.
  image = moved / 'eval-0.png'
  shutil.copy(moved / 'eval-1.png', image)
  again = moved.rename(tmp_path / 'again')
  command_line.one_line(
    start(*own(again, tmp_path / 'model')), 'config.image_files'
  )
