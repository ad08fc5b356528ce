"""Stopped commands leave nothing, and killed ones nothing for ever."""

import asyncio
import errno
import fcntl
import importlib
import os
import pathlib
import shutil
import signal

from absl import logging
import peft_files
import pytest

from conversions import convert
from conversions import verify
from conversions.files import destination
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.runtime import stop_handlers
from hermesflow_jax.runtime import terminal


@pytest.fixture
def handlers():
  before = {n: signal.getsignal(n) for n in stop_handlers.SIGNALS}
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


def interrupt(*_, **__):
  raise KeyboardInterrupt


@pytest.mark.parametrize('reverse', [False, True])
def test_an_interrupt_is_one_line_and_leaves_nothing(
  run, converted, tmp_path, monkeypatch, reverse
):
  src, ours = converted
  monkeypatch.setattr(checkpoint, 'save', interrupt)
  monkeypatch.setattr(checkpoint, 'restore', interrupt)
  arguments = ['showo', ours if reverse else src, tmp_path / 'x']
  code, output = run(*arguments, *(['--reverse'] if reverse else []))
  assert code == 130
  assert output == f'stopped; nothing was written to {tmp_path / "x"}\n'
  assert not any(tmp_path.iterdir())


def test_an_interrupted_comparison_is_one_line(
  converted, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(verify, 'load_arrays', interrupt)
  arguments = ['showo', str(converted[1]), str(tmp_path / 'io.npz')]
  assert verify.main(arguments, terminal.silent()) == 130
  assert capsys.readouterr().err == 'stopped\n'


@pytest.mark.parametrize(
  'error, line',
  [
    (
      OSError(errno.ENOSPC, 'No space left on device'),
      'no space is left on the disk of {}; free some, then run',
    ),
    (
      ValueError('RESOURCE_EXHAUSTED: ...\n file 13: No space left on device'),
      'no space is left on the disk of {}; free some, then run',
    ),
    (
      ValueError('OUT_OF_RANGE: "x" at\n file 13: File too large'),
      '{} could not be written: File too large; give a DST on another disk',
    ),
    (
      OSError(errno.EDQUOT, 'Disk quota exceeded'),
      '{} could not be written: Disk quota exceeded; give a DST on another',
    ),
  ],
)
def test_a_full_disk_is_one_line(
  run, converted, tmp_path, monkeypatch, error, line
):
  def fail(*_):
    # As a thread of orbax does, and an event loop for each further array.
    logging.error('it failed', exc_info=error)
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({'message': 'lost', 'exception': error})
    loop.close()
    raise error

  # Outside of pytest, what nobody handles is printed.
  shown = []
  monkeypatch.setattr(
    asyncio.log.logger, 'handle', lambda record: shown.append(record)
  )
  monkeypatch.setattr(checkpoint, 'save', fail)
  code, output = run('showo', converted[0], tmp_path / 'x')
  assert code == 2 and output.count('\n') == 1
  assert output.startswith('error: ' + line.format(tmp_path / 'x'))
  assert not any(tmp_path.iterdir()) and not shown


@pytest.mark.parametrize('way', ['in', 'out', 'adapters in', 'adapters out'])
def test_a_disk_that_is_too_small_is_named_before_it_is_full(
  run, converted, tmp_path, monkeypatch, way
):
  commands = {
    'in': ['showo', converted[0], tmp_path / 'x'],
    'out': ['showo', converted[1], tmp_path / 'x', '--reverse'],
  }
  if way.startswith('adapters'):
    peft = peft_files.write(tmp_path / 'peft', peft_files.tensors())
    base = ['--base', converted[1]]
    commands['adapters in'] = ['lora', peft, tmp_path / 'x', *base]
    assert run('lora', peft, tmp_path / 'ours', *base)[0] == 0
    commands['adapters out'] = ['lora', tmp_path / 'ours', tmp_path / 'x']
    commands['adapters out'] += ['--reverse']
  before = sorted(tmp_path.iterdir())
  free = shutil.disk_usage(tmp_path)._replace(free=1000)
  monkeypatch.setattr(shutil, 'disk_usage', lambda path: free)
  code, output = run(*commands[way])
  assert code == 2 and f'the disk of {tmp_path} must have ' in output
  assert 'got 1e-06 GB' in output
  assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize('number', stop_handlers.SIGNALS)
def test_the_first_signal_interrupts_and_further_ones_do_not(
  handlers, number, converted, tmp_path, monkeypatch
):
  """So what a command has begun to write is removed."""
  signal.signal(number, signal.default_int_handler)

  def stopped(*_):
    try:
      os.kill(os.getpid(), number)
    finally:
      for other in stop_handlers.SIGNALS:
        os.kill(os.getpid(), other)

  for command, function in ((convert, '_convert'), (verify, 'load_arrays')):
    monkeypatch.setattr(command, function, stopped)
    arguments = ['showo', str(converted[1]), str(tmp_path / 'x')]
    assert command.main(arguments, terminal.silent()) == 130
  # Signals of later commands are handled as before.
  assert signal.getsignal(number) is signal.default_int_handler


def test_signals_that_are_ignored_stay_ignored(handlers):
  """As under nohup."""
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  with stop_handlers.single_interrupt():
    os.kill(os.getpid(), signal.SIGHUP)


def remains(parent, *names, name='ours', lock=True):
  """Writes the hidden folder of a killed command."""
  folder = parent / f'.{name}.a1b2c3d4.tmp'
  for part in names:
    (folder / part).mkdir(parents=True)
    (folder / part / 'weights').write_text(part)
  if lock:
    (folder / destination.LOCK).touch()
  return folder


@pytest.mark.parametrize('name', ['ours', 'another.model'])
def test_the_next_command_removes_what_a_killed_one_left(
  converted, tmp_path, name
):
  remains(tmp_path, 'new', name=name)
  lines = []
  console = terminal.Console(lines.append, terminal.silent().progress)
  arguments = ['showo', str(converted[0]), str(tmp_path / 'ours')]
  assert convert.main(arguments, console) == 0
  assert [path.name for path in tmp_path.iterdir()] == ['ours']
  assert lines[0].startswith('removed ') and 'killed' in lines[0]


def test_the_folder_of_a_running_command_is_left_alone(tmp_path):
  folder = remains(tmp_path, 'new')
  with open(folder / destination.LOCK, 'r+') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    destination.remove_remains(tmp_path / 'ours')
    assert folder.exists()
  with destination.new_folder(tmp_path / 'other', False, bool) as first:
    destination.remove_remains(tmp_path / 'other')
    assert first.parent.exists()
    first.mkdir()
  assert sorted(p.name for p in tmp_path.iterdir()) == ['other']


@pytest.mark.parametrize('lock', [True, False])
def test_hidden_folders_of_others_are_left_alone(tmp_path, lock):
  folder = remains(tmp_path, 'new', 'thesis' if lock else 'old', lock=lock)
  destination.remove_remains(tmp_path / 'ours')
  assert (folder / 'new' / 'weights').exists()


def test_a_folder_that_was_about_to_be_replaced_gets_its_name_back(tmp_path):
  remains(tmp_path, 'new', 'old')
  destination.remove_remains(tmp_path / 'ours')
  assert (tmp_path / 'ours' / 'weights').read_text() == 'old'
  assert [path.name for path in tmp_path.iterdir()] == ['ours']


def test_an_empty_folder_is_used(run, converted, tmp_path):
  (tmp_path / 'ours').mkdir()
  assert run('showo', converted[0], tmp_path / 'ours') == (0, '')
  assert checkpoint.is_checkpoint(str(tmp_path / 'ours'))


@pytest.mark.parametrize('argument', ['src', 'dst', 'sizes', 'base'])
def test_a_tilde_is_the_home_folder(monkeypatch, argument):
  monkeypatch.setenv('HOME', '/home/someone')
  words = {'src': 'a', 'dst': 'b', 'sizes': 'c', 'base': 'd'}
  words[argument] = '~/x'
  line = ['showo', words['src'], words['dst']]
  line += [f'--{name}={words[name]}' for name in ('sizes', 'base')]
  parsed = convert.command_line().parse_args(line)
  assert getattr(parsed, argument) == '/home/someone/x'


def test_a_tilde_is_the_home_folder_in_comparisons(monkeypatch):
  monkeypatch.setenv('HOME', '/home/someone')
  line = ['showo', '~/a', '~/b.npz', '--reference=~/c']
  parsed = verify.command_line().parse_args(line)
  assert (parsed.checkpoint, parsed.io, parsed.reference) == (
    '/home/someone/a',
    '/home/someone/b.npz',
    '/home/someone/c',
  )


def test_an_empty_path_is_refused(capsys):
  with pytest.raises(SystemExit):
    convert.command_line().parse_args(['showo', 'a', ''])
  assert "DST: must be a path, got ''" in capsys.readouterr().err


@pytest.mark.parametrize('command', [convert, verify])
def test_commands_silence_advice_of_libraries(monkeypatch, command):
  """That PyTorch was not found is no news for these commands."""
  for name in ('VERBOSITY', 'NO_ADVISORY_WARNINGS'):
    monkeypatch.delenv(f'TRANSFORMERS_{name}', raising=False)
  importlib.reload(command)
  assert os.environ['TRANSFORMERS_VERBOSITY'] == 'error'
  assert os.environ['TRANSFORMERS_NO_ADVISORY_WARNINGS'] == '1'


def test_a_stop_between_the_renames_gives_the_old_folder_back(
  tmp_path, monkeypatch
):
  old = tmp_path / 'model'
  old.mkdir()
  (old / 'a').touch()
  rename = pathlib.Path.rename

  def stopped(source, target):
    if source.name == destination.NEW:
      raise KeyboardInterrupt
    return rename(source, target)

  monkeypatch.setattr(pathlib.Path, 'rename', stopped)
  with (
    pytest.raises(KeyboardInterrupt),
    destination.new_folder(old, True, lambda path: True) as new,
  ):
    new.mkdir()
  assert [path.name for path in tmp_path.rglob('*')] == ['model', 'a']


@pytest.mark.parametrize('overwrite', [False, True])
def test_an_interrupt_after_the_folder_has_its_name_says_so(
  tmp_path, monkeypatch, capsys, overwrite
):
  target = tmp_path / 'x'
  if overwrite:
    target.mkdir()
    (target / 'old').touch()

  def write(args, console):
    with destination.new_folder(target, overwrite, lambda path: True) as new:
      new.mkdir()
      (new / 'weights').touch()

  monkeypatch.setattr(convert, '_convert', write)
  monkeypatch.setattr(destination, '_remove', interrupt)
  arguments = ['showo', str(tmp_path / 'src'), str(target)]
  assert convert.main(arguments, terminal.silent()) == 130
  assert capsys.readouterr().err == f'stopped; {target} is complete\n'
  assert [path.name for path in target.iterdir()] == ['weights']
