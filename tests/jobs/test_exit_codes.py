"""A command ends with an exit code and one line, also after a signal."""

import importlib
import signal
import subprocess
import sys
import time

import command_line
import pytest

from hermesflow_jax.command import program
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import entry_point
from hermesflow_jax.training import training_loop


def test_ctrl_c_says_what_to_do(start, stopped, base):
  code, output = start(command_line.CONFIG, f'--config.init_from={base}')
  assert (code, output) == (130, 'stopped; the same command resumes\n')


@pytest.mark.parametrize(
  'job, config',
  [
    ('benchmark', 'benchmark.py'),
    ('growth_benchmark', 'benchmark.py:growth'),
    ('official_benchmark', 'benchmark.py:official'),
    ('serve_benchmark', 'benchmark.py:serve'),
    ('compile_for', 'pair_dpo.py:show_o_256'),
  ],
)
def test_ctrl_c_says_of_a_measurement_that_it_begins_anew(
  start, monkeypatch, job, config
):

  def stop(*args):
    raise KeyboardInterrupt

  module = importlib.import_module(f'hermesflow_jax.jobs.{job}')
  monkeypatch.setattr(module, 'run', stop)
  flags = ['--compile_for=v5e:2x4'] * (job == 'compile_for')
  code, output = start(f'--config={command_line.ROOT}/configs/{config}', *flags)
  assert (code, output) == (130, 'stopped; the same command begins anew\n')


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
  code, output = start(command_line.CONFIG)
  assert (code, output.count('\n')) == (1, 1)
  assert output.startswith('error: ')


def test_a_process_ends_with_exit_code_2(capfd, monkeypatch, tmp_path):
  """In this process, whose signals and streams stay as they are."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(entry_point, 'prepare', lambda: None)
  monkeypatch.setattr(entry_point.stop_handlers, 'ignore', lambda: None)
  monkeypatch.setattr(
    sys, 'argv', ['main.py', command_line.CONFIG, '--config.play.rounds=0']
  )
  with pytest.raises(SystemExit) as end:
    program.run()
  command_line.one_line(
    (end.value.code, capfd.readouterr().err), 'rounds must be at least 1, got 0'
  )


def test_a_process_stops_at_a_signal(base, tmp_path, interruptible):
  """Ctrl-C; below, each signal stops a process that imports no JAX."""
  run = command_line.process(
    command_line.CONFIG, f'--config.init_from={base}', cwd=tmp_path
  )
  claimed = tmp_path / 'runs' / 'pair_dpo' / 'settings.json'
  while not claimed.exists() and run.poll() is None:
    time.sleep(0.05)
  run.send_signal(signal.SIGINT)
  _, output = run.communicate(timeout=120)
  assert (run.returncode, output) == (
    130,
    'stopped; the same command resumes\n',
  )


LOST = """
import gc, os, signal, sys, time
from hermesflow_jax.runtime import stop_handlers

stop_handlers.install()

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


@pytest.mark.parametrize('number', ['SIGINT', 'SIGTERM', 'SIGHUP'])
def test_a_signal_within_a_garbage_collection_is_not_lost(
  number, interruptible
):
  run = subprocess.run(
    [sys.executable, '-c', LOST.format(number=number)],
    cwd=command_line.ROOT,
    capture_output=True,
    text=True,
    timeout=50,
  )
  assert (run.returncode, run.stderr) == (130, '')
