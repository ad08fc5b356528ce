"""Mistakes end in one line and exit code 2, before any work; Ctrl-C in 130."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest
import tiny_world

from hermesflow_jax.experiments import ablation
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.training import train_step
from hermesflow_jax.training import training_loop
import main

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f'--config={ROOT}/configs/pair_dpo.py'


@pytest.fixture
def start(capfd, monkeypatch, tmp_path):
  """Runs main in an empty folder: (exit code, standard error)."""
  monkeypatch.chdir(tmp_path)
  verbosity = main.logging.get_verbosity()

  def call(*arguments):
    capfd.readouterr()
    code = main.main(['main.py', *map(str, arguments)])
    return code, capfd.readouterr().err

  yield call
  main.logging.set_verbosity(verbosity)


@pytest.fixture(scope='module')
def base(tmp_path_factory):
  """A whole bundle that no test changes."""
  return tiny_world.bundle(tmp_path_factory.mktemp('bundles') / 'base')


@pytest.fixture
def copy(base, tmp_path):
  """A bundle to change."""
  return pathlib.Path(shutil.copytree(base, tmp_path / 'copy'))


@pytest.fixture
def idle(monkeypatch):
  """Makes any work on a device a failure of the test."""

  def work(*args, **kwargs):
    raise AssertionError('device work before all was checked')

  for name in ('encode', 'decode', 'draw', 'describe', 'answer'):
    monkeypatch.setattr(unified_model.UnifiedModel, name, work)
  monkeypatch.setattr(train_step, 'make_step', work)
  monkeypatch.setattr(jax, 'device_put', work)


def one_line(found, *said):
  """Asserts exit code 2 and one line that says all of `said`."""
  code, text = found
  assert text.startswith('error: ') and text.count('\n') == 1, text
  for each in said:
    assert str(each) in text
  assert code == 2


def everything(folder):
  """{path: bytes} of all files below a folder."""
  return {
    path: path.read_bytes() for path in folder.rglob('*') if path.is_file()
  }


@pytest.mark.parametrize(
  'arguments, said',
  [
    ([], '--config is missing'),
    (['--config'], 'Missing value for flag --config'),
    (['--config='], 'empty string'),
    (['--config=nowhere.py'], 'nowhere.py'),
    ([f'--config={ROOT}/configs/__init__.py'], 'config file has no get_config'),
    ([CONFIG + ':show_o'], 'variant must be one of shapes, show_o_256'),
    ([f'--config={ROOT}/configs/tokenizer.py:x'], 'has no variants'),
    ([CONFIG, 'extra'], 'unexpected arguments: extra'),
    ([CONFIG, '--wokdir=x'], 'Did you mean: workdir'),
    ([CONFIG, '--config.play.round=1'], 'Did you mean "rounds"'),
    ([CONFIG, '--config.play.optim.lr.x=1'], 'play.optim.lr.x'),
    ([CONFIG, '--config.play.rounds=2.5'], 'rounds=2.5'),
    ([CONFIG, '--config.play.optim=3'], 'play.optim'),
    (['--config.play.rounds=1', CONFIG], 'before'),
    ([CONFIG, '--processes=2'], 'must be given for several processes'),
    (
      [CONFIG, '--processes=2', '--process=2'],
      'process must be less than processes, 2, got 2',
    ),
    *(
      (
        [CONFIG, f'--coordinator={name}'],
        f"coordinator must be host:port or 'auto', got '{name}'",
      )
      for name in ('host', 'host:', ':1', 'host:x', 'host:70000')
    ),
    (
      [CONFIG, '--workdir=s3://a/b'],
      'path must be a folder or gs://bucket/folder, got s3://a/b',
    ),
    (
      [CONFIG, '--workdir=gs://'],
      'path must be a folder or gs://bucket/folder, got gs://',
    ),
    (
      [CONFIG, '--config.job=x'],
      'must be tokenizer, pretrain, pair_dpo, seeds',
    ),
  ],
)
def test_a_command_line_that_cannot_be_read(start, idle, arguments, said):
  one_line(start(*arguments), said)


@pytest.mark.parametrize(
  'override, said',
  [
    (
      'play.optim.lr=nan',
      'config.play.optim.lr must be a finite number, got nan',
    ),
    ('play.optim.lr=-1', 'lr must be more than 0, got -1.0'),
    ('play.optim.steps=0', 'steps must be at least 1, got 0'),
    (
      'play.objective.beta=inf',
      'config.play.objective.beta must be a finite number, got inf',
    ),
    (
      'play.objective.drop_condition=1.5',
      'drop_condition must be between 0 and 1, got 1.5',
    ),
    (
      'play.curation_sampler.guidance=nan',
      'curation_sampler.guidance must be a finite number, got nan',
    ),
    (
      'play.evaluation_sampler.steps=0',
      'evaluation_sampler.steps must be at least 1, got 0',
    ),
    ('play.evaluation_sampler.schedule=cosin', "pow<number>, got 'cosin'"),
    ('play.captions[0].top_k=0', 'captions[0].top_k must be at least 1, got 0'),
    ('play.rules.least_win=60', 'least_win must be between 0 and 1, got 60.0'),
    ('play.rounds=0', 'rounds must be at least 1, got 0'),
    ('play.images=1', 'images must be at least 2, got 1'),
    ('play.batch=0', 'batch must be at least 1, got 0'),
    ('play.optim.accumulate=3', 'must be a multiple of accumulate=3, got 16'),
    ('play.optim.b2=1', 'b2 must be less than 1, got 1.0'),
    ('play.profile_steps=(5,2)', 'with 0 <= first <= after, got (5, 2)'),
    ('play.save_every=-1', 'save_every must be at least 0, got -1'),
    ('play.seed=-1', 'seed must be at least 0, got -1'),
    ('play.reference=last', "reference must be 'round' or 'base', got 'last'"),
    ('held_out=1', 'held_out must be at least 2, got 1'),
    ('unseen=1', 'unseen must be 0 or at least 2, got 1'),
    ('held_out_split=train', "or 'preference', got 'train'"),
    ('world.jitter=9', 'jitter must be between 0 and '),
    (
      'mesh.model=3',
      '8, got data=-1 model=3: give data=8 model=1, data=4 model=2 or -1 for',
    ),
    ('mesh.data=16', 'the number of devices, 8, got data=16 model=-1: give'),
    ('mesh.model=0', 'got data=-1 model=0: give'),
  ],
)
def test_a_value_that_cannot_be(start, idle, base, tmp_path, override, said):
  found = start(CONFIG, f'--config.init_from={base}', f'--config.{override}')
  one_line(found, said)
  assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize('variant', ['show_o_256', 'show_o_512'])
def test_weights_that_are_missing(start, idle, tmp_path, variant):
  one_line(
    start(f'{CONFIG}:{variant}'),
    f'no checkpoint at checkpoints/{variant}',
    'python -m conversions.convert showo',
  )
  assert not any(tmp_path.iterdir())


def test_an_asset_that_is_missing(start, idle):
  one_line(
    start(CONFIG, '--config.init_from=assets:nothing'),
    'no checkpoint at',
    'assets/nothing',
  )


@pytest.mark.parametrize('text', ['{"model_type": "phi"}', '[]', 'hello'])
def test_an_asset_of_something_else(start, idle, tmp_path, text):
  folder = tmp_path / 'foreign'
  folder.mkdir()
  (folder / 'config.json').write_text(text)
  one_line(
    start(CONFIG, f'--config.init_from={folder}'),
    'no readable bundle at',
    folder,
  )


def test_an_asset_that_is_damaged(start, idle, copy, tmp_path):
  weights = copy / 'model.safetensors'
  data = bytearray(weights.read_bytes())
  data[-1] ^= 1
  weights.write_bytes(data)
  one_line(
    start(CONFIG, f'--config.init_from={copy}'), 'model.safetensors has SHA'
  )
  assert not (tmp_path / 'runs').exists()


def test_data_that_is_missing(start, idle, base):
  one_line(
    start(CONFIG + ':show_o_256', f'--config.init_from={base}'),
    'data/inputs.jsonl cannot be read',
  )


def test_an_asset_of_other_sizes(start, idle, base, tmp_path):
  (tmp_path / 'a.png').touch()
  row = {
    'id': 'a',
    'img_path': 'a.png',
    'caption': 'a ring',
    'questions': [
      {'question': 'a ring ?', 'choices': ['yes', 'no'], 'answer': 'yes'}
    ],
  }
  flags = [f'--config.init_from={base}']
  for split in ('inputs', 'held_out'):
    path = tmp_path / f'{split}.jsonl'
    path.write_text(json.dumps(row | {'id': split}))
    flags += [
      f'--config.files.{split}.annotations={path}',
      f'--config.files.{split}.images={tmp_path}',
    ]
  one_line(
    start(CONFIG + ':show_o_256', *flags),
    'vocab.text_size of ',
    ' must be 50295, got ',
  )


def test_an_asset_without_a_model(start, idle, copy):
  record = json.loads((copy / 'config.json').read_text())
  record['sha256'] = {
    k: v for k, v in record['sha256'].items() if 'tokenizer' in k
  }
  for name in ('vocab', 'decoder', 'lengths', 'grid'):
    del record[name]
  (copy / 'config.json').write_text(json.dumps(record))
  one_line(start(CONFIG, f'--config.init_from={copy}'), 'but no model')


def test_a_workdir_that_cannot_be_written(start, idle, base, tmp_path):
  (tmp_path / 'file').write_text('kept')
  one_line(
    start(
      CONFIG, f'--config.init_from={base}', f'--workdir={tmp_path}/file/run'
    ),
    'file/run',
    'Not a directory',
    'give another --workdir',
  )
  assert (tmp_path / 'file').read_text() == 'kept'


@pytest.mark.parametrize('name', ['thesis.txt', 'settings.json'])
def test_a_workdir_of_something_else(start, idle, base, tmp_path, name):
  folder = tmp_path / 'mine'
  folder.mkdir()
  (folder / name).write_text('[1]')
  one_line(
    start(CONFIG, f'--config.init_from={base}', f'--workdir={folder}'),
    'mine',
    'it holds files of something else',
  )
  assert {p.name: d for p, d in everything(folder).items()} == {name: b'[1]'}


def test_a_comparison_has_a_folder_of_its_own_and_says_what_started_it(
  start, monkeypatch
):
  """Two variants in one folder would be taken for one run that changed."""
  seen = []
  monkeypatch.setattr(
    ablation,
    'run',
    lambda config, workdir, _: seen.append((config.command, workdir)),
  )
  config = f'--config={ROOT}/configs/ablation.py'
  for arguments in ([config], [f'{config}:beta', '--config.seeds=(5,)']):
    assert start(*arguments) == (0, '')
  assert seen == [
    (f'python main.py {config}', 'runs/ablation/table5'),
    (
      f"python main.py {config}:beta '--config.seeds=(5,)'",
      'runs/ablation/beta',
    ),
  ]


@pytest.mark.parametrize(
  'config',
  [
    'configs/pair_dpo.py',
    'configs/pair_dpo.py:show_o_512',
    'configs/seeds.py',
    'configs/curate.py',
  ],
)
def test_a_job_knows_the_command_that_started_it(start, monkeypatch, config):
  """report.html of `:show_o_512` named the embedded variant."""
  seen = []
  job = main.job_of(pathlib.Path(config.split(':')[0]).stem)
  monkeypatch.setattr(
    job, 'run', lambda config, workdir, console: seen.append(console.command)
  )
  flags = [f'--config={ROOT}/{config}', '--workdir=a b']
  assert start(*flags) == (0, '')
  assert seen == [f"python main.py {flags[0]} '--workdir=a b'"]


@pytest.fixture
def stopped(monkeypatch):
  """A job that is stopped as soon as its folder is claimed."""

  def stop(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(jax, 'device_put', stop)


def test_a_workdir_of_other_settings(start, stopped, base, tmp_path):
  flags = [CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  before = everything(tmp_path / 'run')
  assert before
  one_line(
    start(*flags, '--config.play.images=5', '--config.inputs=7'),
    'config.play.images 4 -> 5',
    'config.inputs ',
    ' -> 7',
  )
  assert everything(tmp_path / 'run') == before
  # A run may go on to more rounds.
  assert start(*flags, '--config.play.rounds=5')[0] == 130


FREE = (
  'play.log_every=7',
  'play.save_every=9',
  'play.sample_every=3',
  'play.profile_steps=(1,2)',
  'play.label_rows=64',
  'gallery=3',
  'chunk=16',
  'mesh.model=2',
  'play.optim.accumulate=2',
  'official=True',
  'missing=x',
)


def test_what_does_not_change_results_may_change_when_a_run_goes_on(
  start, stopped, base, tmp_path, capfd
):
  flags = [CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  changed = [*flags, *(f'--config.{each}' for each in FREE)]
  main.main(['main.py', *map(str, changed)])
  said = capfd.readouterr().out
  assert 'resuming in run; ' in said
  assert 'config.play.log_every 10 -> 7' in said
  assert 'config.gallery 12 -> 3' in said
  # The record is of the newest start.
  record = json.loads((tmp_path / 'run' / 'settings.json').read_text())
  assert (record['play']['log_every'], record['chunk']) == (7, 16)
  assert record['mesh'] == {'data': -1, 'model': 2}
  one_line(
    start(*changed, '--config.play.batch=8'), 'config.play.batch 16 -> 8'
  )
  assert start(*flags)[0] == 130


def test_a_run_of_an_earlier_release_goes_on(start, stopped, base, tmp_path):
  """Commit 423190d had other default meshes, and no official files."""
  flags = [CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  path = tmp_path / 'run' / 'settings.json'
  record = json.loads(path.read_text())
  del record['official']
  record['mesh'] = {'data': -1, 'model': 1}
  path.write_text(json.dumps(record))
  assert start(*flags)[0] == 130
  # A setting that this release does not know may have changed results.
  path.write_text(json.dumps(record | {'strange': 1}))
  one_line(start(*flags), 'config.strange 1 -> None')


def test_a_workdir_of_another_base_model(start, stopped, copy):
  flags = [CONFIG, f'--config.init_from={copy}', '--workdir=run']
  assert start(*flags)[0] == 130
  tiny_world.bundle(copy, seed=1)
  one_line(start(*flags), 'config.base.model.safetensors')


def test_a_start_that_was_killed_leaves_no_mess(start, stopped, base, tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'settings.json.tmp').write_text('{"hal')
  code, _ = start(CONFIG, f'--config.init_from={base}', '--workdir=run')
  assert code == 130
  assert json.loads((tmp_path / 'run' / 'settings.json').read_text())


def test_ctrl_c_says_what_to_do(start, stopped, base):
  code, said = start(CONFIG, f'--config.init_from={base}')
  assert (code, said) == (130, 'stopped; the same command resumes\n')


@pytest.mark.parametrize(
  'error',
  [
    OSError(28, 'No space left on device', 'x/y'),
    training_loop.NonFiniteError('11 of the last 20 steps\nwere not finite'),
  ],
)
def test_a_run_that_cannot_go_on_says_so_in_one_line(start, monkeypatch, error):

  def run(*args):
    raise error

  monkeypatch.setattr(pair_dpo, 'run', run)
  code, said = start(CONFIG)
  assert (code, said.count('\n')) == (1, 1)
  assert said.startswith('error: ')


@pytest.mark.parametrize('job', ['tokenizer', 'pretrain'])
def test_the_other_jobs_check_before_they_work_too(
  start, idle, base, tmp_path, job
):
  flags = [f'--config={ROOT}/configs/{job}.py']
  if job == 'pretrain':
    one_line(start(*flags), 'no readable bundle at runs/shapes')
    flags.append(f'--config.tokenizer={base}')
  (tmp_path / 'file').write_text('')
  one_line(start(*flags, '--workdir=file/run'), 'file/run')
  one_line(start(*flags, '--config.export=file/run'), 'file/run')
  one_line(start(*flags, '--config.mesh.model=3'), 'the number of devices, 8')
  one_line(
    start(*flags, '--config.optim.lr=nan'),
    'config.optim.lr must be a finite number, got nan',
  )


def test_help_shows_the_flags(start, capfd):
  with pytest.raises(SystemExit) as stop:
    main.main(['main.py', '--help'])
  assert stop.value.code == 0
  assert '--workdir' in capfd.readouterr().out


def test_overrides_reach_the_settings():
  values, given = main.options(
    [
      'main.py',
      CONFIG,
      '--config.play.rounds=7',
      '--workdir=x',
      '--config.play.captions[1].top_k=5',
    ]
  )
  assert given.compile_for is None and given.coordinator is None
  assert values.pop('job') == 'pair_dpo'
  config = settings.build(pair_dpo.Settings, values)
  assert (config.play.rounds, given.workdir) == (7, 'x')
  assert config.play.captions[1].top_k == 5


@pytest.mark.parametrize('job', ['pair_dpo', 'generate'])
def test_sizes_with_several_numbers_are_given_by_flags(job):
  values, _ = main.options(
    [
      'main.py',
      f'--config={ROOT}/configs/{job}.py:show_o_512',
      *(
        f'--config.sizes.tokenizer.{name}=(1,2)'
        for name in (
          'encoder_ch_mult',
          'decoder_ch_mult',
          'encoder_num_res_blocks',
          'decoder_num_res_blocks',
        )
      ),
      '--config.sizes.grid=(4,8)',
    ]
  )
  assert values.pop('job') == job
  config = settings.build(main.job_of(job).Settings, values)
  found = config.sizes.tokenizer
  assert found.encoder_ch_mult == found.decoder_num_res_blocks == (1, 2)
  assert config.sizes.grid == (4, 8)


def test_a_device_for_each_core_up_to_eight():
  counts = {cores: main.cpu_devices(cores) for cores in (1, 2, 3, 4, 7, 64)}
  assert counts == {1: 1, 2: 2, 3: 2, 4: 4, 7: 4, 64: 8}


def process(*arguments, cwd):
  return subprocess.Popen(
    [sys.executable, str(ROOT / 'main.py'), *map(str, arguments)],
    cwd=cwd,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'}
    | {'JAX_PLATFORMS': 'cpu'},
  )


def test_a_process_ends_with_exit_code_2(tmp_path):
  run = process(CONFIG, '--config.play.rounds=0', cwd=tmp_path)
  _, said = run.communicate(timeout=120)
  one_line((run.returncode, said), 'rounds must be at least 1, got 0')


@pytest.fixture
def interruptible():
  """Started in the background by a shell, tests and their children ignore
  SIGINT; children of a process that handles it do not."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_process_stops_at_a_signal(base, tmp_path, number, interruptible):
  run = process(CONFIG, f'--config.init_from={base}', cwd=tmp_path)
  claimed = tmp_path / 'runs' / 'pair_dpo' / 'settings.json'
  while not claimed.exists() and run.poll() is None:
    time.sleep(0.05)
  run.send_signal(number)
  _, said = run.communicate(timeout=120)
  assert (run.returncode, said) == (130, 'stopped; the same command resumes\n')


LOST = """
import gc, os, signal, sys, time
import main

main.stop_handlers.install()

def collecting(phase, info):
  gc.callbacks.clear()
  os.kill(os.getpid(), signal.{number})
  for _ in range(1_000):
    pass

gc.callbacks.append(collecting)
try:
  gc.collect()
  time.sleep(60)
except KeyboardInterrupt:
  sys.exit(130)
"""


@pytest.mark.parametrize('number', ['SIGINT', 'SIGTERM'])
def test_a_signal_within_a_garbage_collection_is_not_lost(
  number, interruptible
):
  run = subprocess.run(
    [sys.executable, '-c', LOST.format(number=number)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=50,
  )
  assert (run.returncode, run.stderr) == (130, '')
