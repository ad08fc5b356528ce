"""Stop signals are handled whatever compiled code does with them."""

import importlib.util
import subprocess
import sys

import command_line
import pytest

LOADS_COMPILER = """
import os, signal, sys, time
from hermesflow_jax.runtime import stop_handlers

stop_handlers.install()

from hermesflow_jax.performance.pods import verdicts
from hermesflow_jax.runtime import accelerators

verdicts.slice_mesh(accelerators.parse_slice('v5e:2x2'), 4, 1)
for number in stop_handlers.SIGNALS:
  try:
    os.kill(os.getpid(), number)
    time.sleep(60)
  except KeyboardInterrupt:
    print(number.name)
"""


@pytest.mark.skipif(
  importlib.util.find_spec('libtpu') is None, reason='no libtpu'
)
def test_libtpu_leaves_the_handlers_of_a_command(interruptible):
  """libtpu sets its own handlers for signals that have none."""
  run = subprocess.run(
    [sys.executable, '-c', LOADS_COMPILER],
    cwd=command_line.ROOT,
    env=command_line.environment(),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert run.returncode == 0, run.stderr
  assert run.stdout.split() == ['SIGINT', 'SIGTERM', 'SIGHUP'], run.stderr
