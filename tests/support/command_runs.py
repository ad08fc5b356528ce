"""Runs of self-play by the command line, in one or two processes."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
from unittest import mock

import jax
import numpy as np
import pytest

from hermesflow_jax.checkpoints import checkpoint
import main

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 24
DEVICES = 2
SMALL = {
  # As many of each set, so that they share programs.
  'inputs': 4,
  'fresh_inputs': False,
  'held_out': 4,
  'unseen': 4,
  # Its scenes have as many questions and choices in each set.
  'world.seed': 6,
  'gallery': 2,
  'chunk': 1,
  'play.rounds': 1,
  'play.images': 2,
  'play.batch': 8,
  'play.epochs': 0.0,
  'play.optim.steps': STEPS,
  'play.log_every': 5,
  'play.save_every': 4,
  'play.optim.lr': 0.01,
  'play.rules.least_win': 0.0,
  'play.rules.both': False,
  'play.curation_sampler.steps': 2,
  'play.evaluation_sampler.steps': 2,
  'play.curation_sampler.guidance': 0.0,
  'play.evaluation_sampler.guidance': 0.0,
  'play.objective.masks': 1,
}

# Runs a script without PyTorch, which transformers imports where it is installed:
# that takes longer than a round.
WITHOUT_TORCH = """
import runpy, sys
sys.modules['torch'] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name='__main__')
"""
# The same for several commands, which are in the first argument as JSON.
ONE_AFTER_ANOTHER = """
import json, sys
sys.modules['torch'] = None
from hermesflow_jax.runtime import entry_point
entry_point.prepare()
import main
commands = json.loads(sys.argv[1])
entry_point.run(lambda _: max(map(main.main, commands)), commands)
"""


# What a run that nothing stops leaves does not depend on how often it saves.
RARELY = {'play.save_every': STEPS // 2}


@dataclasses.dataclass
class Place:
  """Where runs are started.

  Attributes:
    base: the model they start from.
    flags: flags of all runs.
  """

  base: pathlib.Path
  flags: tuple[str, ...] = ()

  def arguments(self, folder, **changes):
    """Returns the command of a run, without python."""
    flags = [f'--config.{k}={v}' for k, v in (SMALL | changes).items()]
    return [
      str(ROOT / 'main.py'),
      f'--config={ROOT}/configs/pair_dpo.py',
      f'--config.init_from={self.base}',
      f'--workdir={folder}',
      *self.flags,
      *flags,
    ]

  def run(self, folder, code=0, **changes):
    """Runs the command in this process; returns its output.

    Args:
      folder: for `--workdir`.
      code: expected exit code.
      **changes: of the settings.
    """
    return run_here(self.arguments(folder, **changes), code)

  def evaluation(self, folder) -> list[str]:
    """Returns the command that evaluates the model, without python."""
    return [
      str(ROOT / 'main.py'),
      f'--config={ROOT}/configs/evaluate.py',
      f'--config.init_from={self.base}',
      f'--workdir={folder}',
      "--config.benchmarks=('pope', 'geneval')",
      '--config.rows=3',
      '--config.sampler.steps=2',
      '--config.sampler.guidance=0.0',
      '--config.chunk=2',
    ]

  def start(
    self,
    folder,
    processes=1,
    number=0,
    port=0,
    devices=DEVICES,
    then=None,
    **changes,
  ):
    """Starts a run, or one of its processes, and then perhaps a command."""
    arguments = self.arguments(folder, **changes)
    if port:
      arguments += [
        f'--coordinator=localhost:{port}',
        f'--process={number}',
        f'--processes={processes}',
      ]
    command = [WITHOUT_TORCH, *arguments]
    if then:
      # Its processes have joined already.
      command = [ONE_AFTER_ANOTHER, json.dumps([arguments, then])]
    # Programs as in this process, so that their results have the same bits.
    flags = re.sub(
      r'(device_count)=\d+',
      rf'\1={devices // processes}',
      os.environ['XLA_FLAGS'],
    )
    env = os.environ | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': flags,
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      'JAX_DEFAULT_MATMUL_PRECISION': 'highest',
    }
    return subprocess.Popen(
      [sys.executable, '-c', *command],
      cwd=ROOT,
      env=env,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  def start_all(self, folder, count=2, together=False, **changes):
    """Starts all processes of a run; one is together with others if asked."""
    if count == 1 and not together:
      return [self.start(folder, **changes)]
    with socket.socket() as free:
      free.bind(('localhost', 0))
      port = free.getsockname()[1]
    return [self.start(folder, count, n, port, **changes) for n in range(count)]


def run_here(arguments: list[str], code: int = 0) -> str:
  """Runs a command in this process, on DEVICES devices; returns its output."""
  verbosity, output = main.logging.get_verbosity(), io.StringIO()
  try:
    with (
      contextlib.redirect_stdout(output),
      contextlib.redirect_stderr(output),
      mock.patch.object(jax, 'device_count', lambda: DEVICES),
    ):
      actual = main.main(arguments)
  finally:
    main.logging.set_verbosity(verbosity)
  assert actual == code, output.getvalue()
  return output.getvalue()


def ended(process, code=0):
  """What a process said, when it has ended."""
  output, wrong = process.communicate(timeout=300)
  assert process.returncode == code, (process.returncode, output, wrong[-3000:])
  return output + wrong


def outcome(folder):
  """All that a run leaves, but for what a clock says."""
  actual = {'model': checkpoint.array_hashes(str(folder / 'checkpoints' / '1'))}
  actual['pairs'] = (folder / 'round_1' / 'pairs.jsonl').read_text()
  curated = json.loads((folder / 'round_1' / 'curation.json').read_text())
  del curated['seconds'], curated['judge_usage']['seconds']
  actual['curated'] = curated
  with np.load(folder / 'round_1' / 'codes.npz') as arrays:
    actual |= {name: array.tolist() for name, array in arrays.items()}
  for number in (0, 1):
    summary = json.loads(
      (folder / f'round_{number}' / 'evaluation.json').read_text()
    )
    del summary['seconds'], summary['judge_usage']['seconds']
    actual[number] = summary
    for name in ('scenes.jsonl', 'scenes_unseen.jsonl'):
      path = folder / f'round_{number}' / name
      actual[f'{number} {name}'] = path.read_text()
  lines = (folder / 'round_1' / 'training' / 'metrics.jsonl').read_text()
  actual['metrics'] = [
    {
      k: v
      for k, v in json.loads(line).items()
      if k != 'time' and not k.startswith(('time/', 'speed/', 'device/'))
    }
    for line in lines.splitlines()
  ]
  assert [row['step'] for row in actual['metrics']] == [5, 10, 15, 20, 24]
  return actual


def assert_same(folder, whole):
  actual, expected = outcome(folder), outcome(whole)
  for name, value in expected.items():
    assert actual[name] == value, name


def assert_near(actual, expected):
  for a, b in zip(actual, expected, strict=True):
    for name in ('train/loss', 'train/grad_norm', 'und/winner_nll'):
      assert a[name] == pytest.approx(b[name], rel=1e-5), (a['step'], name)


def saved_beyond(folder, step, running):
  """Waits until a round has saved a later step; returns it."""
  steps = folder / 'round_1' / 'training' / 'steps'
  deadline = time.monotonic() + 300
  while True:
    numbers = [int(p.name) for p in steps.glob('*') if p.name.isdecimal()]
    if max(numbers, default=-1) > step:
      return max(numbers)
    assert time.monotonic() < deadline
    assert all(p.poll() is None for p in running), running[0].communicate()
    time.sleep(0.02)


def appears(path, running):
  """Waits until a run has written a file."""
  deadline = time.monotonic() + 300
  while not path.exists():
    assert time.monotonic() < deadline
    assert all(p.poll() is None for p in running), running[0].communicate()
    time.sleep(0.02)


def brought(bucket, folder):
  """A copy of the run in the bucket on this machine."""
  shutil.rmtree(folder, ignore_errors=True)
  bucket.get_folder('run', folder)
  return folder


def saved_in_bucket(bucket, step, running):
  """Waits until a round has saved a later step there."""
  place, mark = 'run/round_1/training/steps/', '/commit_success.txt'
  deadline = time.monotonic() + 300
  while True:
    numbers = [
      int(name[len(place) : -len(mark)])
      for name in bucket.names(place)
      if name.endswith(mark)
    ]
    if max(numbers, default=-1) > step:
      return
    assert time.monotonic() < deadline
    assert running.poll() is None, running.communicate()
    time.sleep(0.02)
