"""A command ends with a code and no traceback, whatever its streams do."""

import ast
import os
import pathlib
import signal
import subprocess
import sys
import time

import command_line
import pytest

from hermesflow_jax.runtime import stop_handlers

START = """
import os, sys, time
from hermesflow_jax.runtime import entry_point

def main(arguments):
  {body}
  return {code}

entry_point.run(main, sys.argv[1:])
"""


def process(body, code=0, **options):
  """A process that runs `body` as a command; it imports no JAX."""
  return subprocess.Popen(
    [sys.executable, '-c', START.format(body=body, code=code)],
    cwd=command_line.ROOT,
    text=True,
    **{'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE} | options,
  )


def ended(run):
  output, errors = run.communicate(timeout=60)
  return run.returncode, output, errors


def test_garbage_is_searched_for_less_often_than_by_default():
  body = 'import gc; print(gc.get_threshold()[0] >= 10_000)'
  assert ended(process(body)) == (0, 'True\n', '')


SAY = 'print("words" * 9999)'


@pytest.mark.parametrize('code', [0, 2])
def test_output_on_a_full_disk_is_lost_and_the_code_tells(code):
  with open('/dev/full', 'w') as full:
    actual = ended(process(SAY, code, stdout=full))
  line = (
    'error: standard output could not be written: No space left on device\n'
  )
  assert actual == ((1, None, line) if code == 0 else (code, None, ''))


@pytest.mark.parametrize(
  'name, value, shown',
  [
    ('LC_ALL', 'C', 'é 红'),
    ('LANG', 'C', 'é 红'),
    ('PYTHONIOENCODING', 'ascii', r'\xe9 \u7ea2'),
    ('PYTHONIOENCODING', 'utf-8', 'é 红'),
  ],
)
def test_text_of_every_language_is_printed_in_every_locale(
  tmp_path, name, value, shown
):
  """What a locale cannot write is escaped, and no error."""
  unset = ('LC_ALL', 'LANG', 'LC_CTYPE', 'PYTHONIOENCODING', 'PYTHONUTF8')
  rest = {k: v for k, v in os.environ.items() if k not in unset}
  path = str(tmp_path / 'é 红')
  body = f'open({ascii(path)}, "w"); print({ascii("é 红")}, "\\udcff"[:0])'
  run = process(body, env=rest | {name: value})
  code, output, errors = ended(run)
  assert (code, output.strip(), errors) == (0, shown, '')
  assert [path.name for path in tmp_path.iterdir()] == ['é 红']


def test_a_reader_that_went_away_does_not_end_the_command(tmp_path):
  end = tmp_path / 'end'
  body = (
    f'print("a", flush=True); sys.stdin.read(); {SAY}; open({str(end)!r}, "w")'
  )
  run = process(body, stdin=subprocess.PIPE)
  run.stdout.readline()
  run.stdout.close()
  run.stdin.close()
  assert (run.wait(60), run.stderr.read()) == (1, '')
  run.stderr.close()
  assert end.exists()


def test_progress_on_a_full_disk_is_lost_without_harm():
  with open('/dev/full', 'w') as full:
    body = 'print("bar", file=sys.stderr, flush=True); print("end")'
    assert ended(process(body, stderr=full)) == (0, 'end\n', None)


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
  """What compiled code says would be written into it."""
  data = tmp_path / 'data'
  body = f'file = open({str(data)!r}, "w"); print(1); os.write(1, b"2"); os.write(2, b"3")'
  command = [sys.executable, '-c', START.format(body=body, code=0)]
  run = subprocess.run(
    ['sh', '-c', 'exec "$@" >&- 2>&- <&-', 'sh', *command],
    cwd=command_line.ROOT,
    timeout=60,
  )
  # The printed line is lost.
  assert run.returncode == 1
  assert data.read_text() == ''


@pytest.mark.parametrize('body, code', [('print(1)', 1), ('pass', 0)])
def test_output_into_a_closed_stream_is_lost_and_the_code_tells(body, code):
  command = [sys.executable, '-c', START.format(body=body, code=0)]
  run = subprocess.run(
    ['sh', '-c', 'exec "$@" >&-', 'sh', *command],
    cwd=command_line.ROOT,
    stderr=subprocess.PIPE,
    text=True,
    timeout=60,
  )
  line = 'error: standard output could not be written: it is closed\n'
  assert (run.returncode, run.stderr) == (code, line * code)


@pytest.mark.parametrize('number', ['SIGHUP', 'SIGTERM', 'SIGINT'])
def test_a_stop_signal_ends_in_one_line_and_code_130(number, interruptible):
  body = f'os.kill(os.getpid(), __import__("signal").{number}); time.sleep(60)'
  assert ended(process(body)) == (130, '', 'stopped\n')


def test_a_hangup_is_ignored_under_nohup():
  body = 'os.kill(os.getpid(), 1); time.sleep(0.1); print("end")'
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    assert ended(process(body)) == (0, 'end\n', '')
  finally:
    signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_gone_takes_nothing_with_it(tmp_path, interruptible):
  """The signal comes first; then nothing can be written any more."""
  end = tmp_path / 'end'
  body = (
    # The first terminal that a session opens is its own.
    'os.open(os.ttyname(0), os.O_RDWR); print("a", flush=True)\n'
    '  try: time.sleep(60)\n'
    '  except KeyboardInterrupt:\n'
    '    print("saving", flush=True); print("b", file=sys.stderr, flush=True)\n'
    f'    open({str(end)!r}, "w")\n'
    '    raise'
  )
  outside, terminal = os.openpty()
  run = process(
    body,
    stdin=terminal,
    stdout=terminal,
    stderr=terminal,
    start_new_session=True,
  )
  os.close(terminal)
  os.read(outside, 1)
  time.sleep(0.1)
  os.close(outside)
  assert run.wait(60) == 130
  assert end.exists()


def test_help_ends_well_and_a_wrong_flag_does_not():
  assert ended(process('raise SystemExit(0)'))[0] == 0
  assert ended(process('raise SystemExit(2)'))[0] == 2
  assert ended(process('sys.exit()'))[0] == 0


def test_a_thread_that_reports_to_an_ended_loop_prints_nothing():
  """As tensorstore does for each array if a disk is full; others are shown."""
  body = 'sys.excepthook(RuntimeError, RuntimeError({!r}), None)'
  assert ended(process(body.format('Event loop is closed'))) == (0, '', '')
  assert 'other' in ended(process(body.format('other')))[2]


def test_a_stop_while_modules_load_is_one_line():
  script = 'from hermesflow_jax.runtime import entry_point; entry_point.prepare(); raise KeyboardInterrupt'
  run = subprocess.run(
    [sys.executable, '-c', script],
    cwd=command_line.ROOT,
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert (run.returncode, run.stderr) == (130, 'stopped\n')


@pytest.mark.parametrize('number', stop_handlers.SIGNALS)
def test_a_signal_while_modules_load_ends_the_process(
  number, monkeypatch, capfd
):
  before = {n: signal.getsignal(n) for n in stop_handlers.SIGNALS}
  codes = []
  monkeypatch.setattr(os, '_exit', codes.append)
  try:
    signal.signal(number, signal.SIG_DFL)
    stop_handlers.exit_at_once()
    os.kill(os.getpid(), number)
  finally:
    for other, handler in before.items():
      signal.signal(other, handler)
  assert codes == [130]
  assert capfd.readouterr().err == 'stopped\n'


def imports_before_signals(path):
  """Yields the modules that a file imports before it handles signals."""
  for node in ast.parse(path.read_text()).body:
    if 'entry_point.prepare()' in ast.unparse(node):
      return
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize(
  'name',
  [
    'main.py',
    'hermesflow_jax/__main__.py',
    'conversions/convert.py',
    'conversions/verify.py',
  ],
)
def test_commands_load_only_the_standard_library_before_they_handle_signals(
  name,
):
  root = pathlib.Path(command_line.ROOT)
  left, seen = [root / name], []
  while left:
    for module in imports_before_signals(left.pop()):
      seen.append(module)
      path = root / f'{module.replace(".", "/")}.py'
      if path.exists():
        left.append(path)
      else:
        assert module.split('.')[0] in sys.stdlib_module_names, module
  assert 'hermesflow_jax.runtime.stop_handlers' in seen
