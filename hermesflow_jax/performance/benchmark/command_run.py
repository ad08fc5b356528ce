"""Runs a command of this library as a user does, and reads its results."""

from collections.abc import Sequence
import json
import os
import pathlib
import subprocess
import sys
import time

# Of a round of self-play; its seconds are those of each phase.
_SCORES = ('round', 'understanding', 'generation', 'gap', 'seconds')
_PACKAGE = pathlib.Path(__file__).resolve().parents[2]


def run(arguments: Sequence[str], folder: pathlib.Path) -> dict:
  """Runs `hermesflow` with a run folder.

  Args:
    arguments: its arguments, without `--workdir`.
    folder: run folder.

  Returns:
    Seconds of the command, and those of its phases and the scores by round
    where the job writes them.

  Raises:
    ValueError: the command ends with an error; the text is its last line.
  """
  path = os.environ.get('PYTHONPATH')
  began = time.perf_counter()
  done = subprocess.run(
    [sys.executable, '-m', 'hermesflow_jax', *arguments, f'--workdir={folder}'],
    env=os.environ
    | {
      'PYTHONPATH': os.pathsep.join(
        [str(_PACKAGE.parent), *([path] if path else [])]
      )
    },
    capture_output=True,
    text=True,
    check=False,
  )
  seconds = time.perf_counter() - began
  if done.returncode:
    lines = (done.stderr or done.stdout).strip().splitlines()
    raise ValueError(
      f'the command must end with exit code 0, got {done.returncode}: '
      f'{lines[-1] if lines else "no output"}'
    )
  row = {'seconds': seconds}
  results = folder / 'results.json'
  if results.exists():
    row['rounds'] = [
      {name: summary.get(name) for name in _SCORES}
      for summary in json.loads(results.read_text()).get('rounds', [])
    ]
  return row
