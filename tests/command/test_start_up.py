"""Help and mistakes answer at once: slow libraries are imported when needed."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
IMPORTS = """
import sys
from hermesflow_jax.command import command_flags, program

values, _ = command_flags.read(['main.py', 'pair_dpo', '--config.play.rounds=2'])
print(*sorted({'jax', 'numpy', 'transformers'} & set(sys.modules)))
import hermesflow_jax.jobs.pair_dpo
print(*sorted({'scipy.stats', 'torch', 'transformers'} & set(sys.modules)))
"""


def test_settings_are_read_without_slow_libraries():
  """transformers and scipy.stats take half a second each."""
  done = subprocess.run(
    [sys.executable, '-c', IMPORTS],
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout == '\n\n'
