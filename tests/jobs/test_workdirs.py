"""A folder belongs to one run: others are refused, and it resumes."""

import json

import command_line
import pytest
import tiny_jobs
import tiny_world

from hermesflow_jax.jobs.setup import default_workdir
from hermesflow_jax.runtime import settings
from hermesflow_jax.shapes import scene_records
import main


def test_a_workdir_that_cannot_be_written(start, idle, base, tmp_path):
  (tmp_path / 'file').write_text('kept')
  command_line.one_line(
    start(
      command_line.CONFIG,
      f'--config.init_from={base}',
      f'--workdir={tmp_path}/file/run',
    ),
    'file/run',
    'Not a directory',
    'give another --workdir',
  )
  assert (tmp_path / 'file').read_text() == 'kept'


@pytest.mark.parametrize(
  'workdir, reason',
  [
    ('file', 'Not a directory: file is a file'),
    ('file/run', 'file is a file'),
    ('link', 'link is a link to a folder that does not exist'),
    ('/proc/run', 'no folder can be made in /proc'),
    ('/dev/null', 'Not a directory: /dev/null is a file'),
  ],
)
def test_a_workdir_that_cannot_be_made_is_refused_in_words(
  start, idle, base, tmp_path, workdir, reason
):
  """Without the numbers of the system, such as [Errno 17]."""
  (tmp_path / 'file').touch()
  (tmp_path / 'link').symlink_to(tmp_path / 'nothing')
  code, output = start(
    command_line.CONFIG, f'--config.init_from={base}', f'--workdir={workdir}'
  )
  command_line.one_line((code, output), reason, 'give another --workdir')
  assert f'workdir {workdir} cannot be used: ' in output
  assert 'Errno' not in output


def test_damaged_settings_are_named_or_differ(start, stopped, base, tmp_path):
  """Any value of any type in `settings.json` ends in one line, or starts."""
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  path = tmp_path / 'run' / 'settings.json'
  record = json.loads(path.read_text())
  finish_round(tmp_path / 'run')
  for text in ('', '{"mesh', '\0' * 9, '[' * 99_999, '[]', '3', 'null', '\xff'):
    path.write_bytes(text.encode('latin-1'))
    command_line.one_line(start(*flags), 'workdir run cannot be used: ')
  for key in record:
    for value in (3, [[]]):
      path.write_text(json.dumps(record | {key: value}))
      code, output = start(*flags)
      assert code == 130 or (code == 2 and f'config.{key}' in output)


@pytest.mark.parametrize('name', ['thesis.txt', 'settings.json'])
def test_a_workdir_of_something_else(start, idle, base, tmp_path, name):
  folder = tmp_path / 'mine'
  folder.mkdir()
  (folder / name).write_text('[1]')
  command_line.one_line(
    start(
      command_line.CONFIG, f'--config.init_from={base}', f'--workdir={folder}'
    ),
    'mine',
    f'it holds files that are not from a run: {name}',
  )
  assert {p.name: d for p, d in command_line.everything(folder).items()} == {
    name: b'[1]'
  }


def finish_round(folder):
  """Writes first results into the folder of a run."""
  for name in ('round_0/evaluation.json', 'checkpoints/1/arrays'):
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text('{}')


def test_a_workdir_of_other_settings(start, stopped, base, tmp_path):
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  finish_round(tmp_path / 'run')
  before = command_line.everything(tmp_path / 'run')
  assert before
  command_line.one_line(
    start(*flags, '--config.play.images=5', '--config.inputs=7'),
    'config.play.images 4 -> 5',
    'config.inputs ',
    ' -> 7',
  )
  assert command_line.everything(tmp_path / 'run') == before
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
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  changed = [*flags, *(f'--config.{item}' for item in FREE)]
  main.main(['main.py', *map(str, changed)])
  output = capfd.readouterr().out
  assert 'resuming in run; ' in output
  assert 'config.play.log_every 10 -> 7' in output
  assert 'config.gallery 12 -> 3' in output
  # The record is of the newest start.
  record = json.loads((tmp_path / 'run' / 'settings.json').read_text())
  assert (record['play']['log_every'], record['chunk']) == (7, 16)
  assert record['mesh'] == {'data': -1, 'model': 2}
  finish_round(tmp_path / 'run')
  command_line.one_line(
    start(*changed, '--config.play.batch=8'), 'config.play.batch 16 -> 8'
  )
  assert start(*flags)[0] == 130


def test_a_run_names_the_arithmetic_that_it_goes_on_with(
  start, copy, monkeypatch, capfd
):
  """Results stay equal up to rounding, as on another mesh."""
  monkeypatch.setattr(scene_records, 'load_scenes', _interrupt)
  flags = [f'--config={command_line.ROOT}/configs/pretrain.py', '--workdir=run']
  flags.append(f'--config.tokenizer={copy}')
  assert start(*flags)[0] == 130
  changed = [*flags, '--config.decoder.remat=full', '--config.decoder.unroll=2']
  changed.append('--config.decoder.attention=auto')
  for expected in (True, False):  # The record is of the newest start.
    assert main.main(['main.py', *changed]) == 130
    output = capfd.readouterr().out
    assert 'resuming in run' in output
    for change in ("remat 'none' -> 'full'", 'unroll 4 -> 2'):
      assert (f'config.decoder.{change}' in output) == expected
    assert ("config.decoder.attention 'xla' -> 'auto'" in output) == expected


def test_a_run_of_an_earlier_release_goes_on(start, stopped, base, tmp_path):
  """Commit 423190d had other default meshes, and no official files."""
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  path = tmp_path / 'run' / 'settings.json'
  record = json.loads(path.read_text())
  del record['official']
  record['mesh'] = {'data': -1, 'model': 1}
  path.write_text(json.dumps(record))
  assert start(*flags)[0] == 130
  # A setting that this release does not know may have changed results.
  finish_round(tmp_path / 'run')
  path.write_text(json.dumps(record | {'strange': 1}))
  command_line.one_line(start(*flags), 'config.strange 1 -> None')


def test_a_workdir_of_another_base_model(start, stopped, copy, tmp_path):
  flags = [command_line.CONFIG, f'--config.init_from={copy}', '--workdir=run']
  assert start(*flags)[0] == 130
  finish_round(tmp_path / 'run')
  tiny_world.bundle(copy, seed=1)
  command_line.one_line(start(*flags), 'config.base.model.safetensors')


def test_a_start_that_was_killed_leaves_no_mess(start, stopped, base, tmp_path):
  (tmp_path / 'run').mkdir()
  (tmp_path / 'run' / 'settings.json.tmp').write_text('{"hal')
  code, _ = start(
    command_line.CONFIG, f'--config.init_from={base}', '--workdir=run'
  )
  assert code == 130
  assert json.loads((tmp_path / 'run' / 'settings.json').read_text())


def test_pretraining_claims_the_weights_of_its_tokenizer(
  start, copy, tmp_path, monkeypatch
):
  monkeypatch.setattr(scene_records, 'load_scenes', _interrupt)
  flags = [f'--config={command_line.ROOT}/configs/pretrain.py', '--workdir=run']
  assert start(*flags, f'--config.tokenizer={copy}')[0] == 130
  record = tmp_path / 'run' / 'settings.json'
  assert 'tokenizer_weights' in json.loads(record.read_text())
  (tmp_path / 'run' / 'steps' / '5').mkdir(parents=True)
  (tmp_path / 'run' / 'steps' / '5' / 'arrays').write_text('')
  moved = copy.rename(tmp_path / 'moved')
  assert start(*flags, f'--config.tokenizer={moved}')[0] == 130
  tiny_world.bundle(moved, seed=1)
  command_line.one_line(
    start(*flags, f'--config.tokenizer={moved}'), 'config.tokenizer_weights'
  )
  # A run of an earlier release did not record them.
  values = json.loads(record.read_text())
  del values['tokenizer_weights']
  record.write_text(json.dumps(values))
  assert start(*flags, f'--config.tokenizer={moved}')[0] == 130


def _interrupt(*args):
  raise KeyboardInterrupt


def test_a_workdir_of_another_job_is_not_compared_setting_by_setting(
  start, base, tmp_path
):
  (tmp_path / 'run' / 'images').mkdir(parents=True)
  (tmp_path / 'run' / 'images' / 'a.png').write_text('')
  record = settings.to_json_types(tiny_jobs.job_config(base))
  (tmp_path / 'run' / 'settings.json').write_text(json.dumps(record))
  command_line.one_line(
    start(command_line.CONFIG, f'--config.init_from={base}', '--workdir=run'),
    'it belongs to a run of another job; give another --workdir',
  )


def test_a_benchmark_never_replaces_the_results_of_a_run(
  start, stopped, base, tmp_path
):
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  command_line.one_line(
    start(f'--config={command_line.ROOT}/configs/benchmark.py', flags[-1]),
    'workdir must not be the folder of a run, got run',
  )


def test_the_folder_of_a_job_that_is_repeated_is_told_apart():
  choose = default_workdir.choose
  assert choose(None, 'ablation', 'methods') == 'runs/ablation/methods'
  assert not isinstance(
    choose(None, 'pair_dpo', ''), default_workdir.DefaultWorkdir
  )
  for job in ('generate', 'understand'):
    assert isinstance(choose(None, job, ''), default_workdir.DefaultWorkdir)
    assert not isinstance(choose('x', job, ''), default_workdir.DefaultWorkdir)


def test_settings_that_are_damaged_are_named(start, stopped, base, tmp_path):
  """Without content they are of nobody: a full disk leaves such a file."""
  flags = [command_line.CONFIG, f'--config.init_from={base}', '--workdir=run']
  assert start(*flags)[0] == 130
  path = tmp_path / 'run' / 'settings.json'
  path.write_text(path.read_text()[:50])
  command_line.one_line(
    start(*flags), 'run/settings.json is damaged (', 'restore a copy'
  )
  path.write_text('')
  assert start(*flags)[0] == 130
  # An editor may add a byte order mark, and change the ends of lines.
  path.write_text(path.read_text(), encoding='utf-8-sig', newline='\r\n')
  assert start(*flags)[0] == 130
