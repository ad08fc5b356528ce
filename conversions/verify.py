"""Compares a checkpoint with activations of PyTorch.

  python -m conversions.verify KIND CHECKPOINT IO.npz [--reference DIR]

  KIND        showo, magvitv2 or clip_vision
  CHECKPOINT  from `conversions.convert`, a trained model, or its run
  IO.npz      inputs and outputs saved from PyTorch (docs/conversion.md)

One line a key: the largest error and the tolerance. The exit code is 0 if all
that the file holds and that is known agrees, 1 if anything does not, 2 if
something cannot be read.
"""

import argparse
import os
import sys
import zipfile

os.environ.setdefault('JAX_PLATFORMS', 'cpu')

from absl import logging
import jax
import numpy as np

from conversions import convert
from conversions.files import source
from conversions.verification import checks
from conversions.verification import showo_checks
from conversions.verification import vision_checks
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.runtime import terminal

KINDS = ('showo', 'magvitv2', 'clip_vision')


def load_arrays(path: str) -> dict[str, np.ndarray]:
  """Reads a file of activations.

  Raises:
    ValueError: it is no npz file of plain arrays.
  """
  try:
    # numpy leaves a file open that it cannot read.
    with open(path, 'rb') as raw, np.load(raw, allow_pickle=False) as file:
      return {key: file[key] for key in file.files}
  except (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    zipfile.BadZipFile,
  ) as error:
    reason = str(error).strip().split('\n')[0]
    raise ValueError(f'no readable arrays at {path}: {reason}') from error


def load_model(kind: str, path: str):
  """Reads a checkpoint of ours, or converts one of PyTorch in memory.

  Returns:
    (model, text tokens of its t2i rows).

  Raises:
    ValueError: it is missing, damaged or of another kind.
  """
  folder = str(run_folder.newest_model(path))
  if checkpoint.is_checkpoint(folder):
    record = converted_model.read_record(folder, kind)
    return converted_model.restore_model(folder, record), record.max_text
  return convert.model_of(kind, source.find(path), seed=0)


def verify(
  kind: str,
  path: str,
  found: dict[str, np.ndarray],
  reference: str | None,
  scale: float,
) -> list[checks.Line]:
  """Compares a checkpoint with a file of activations.

  Args:
    kind: of KINDS.
    path: the checkpoint.
    found: the file.
    reference: the frozen reference of the losses, or None.
    scale: multiplies every tolerance but those of integers.

  Returns:
    One line a key.

  Raises:
    ValueError: a checkpoint cannot be read.
  """
  model, max_text = load_model(kind, path)
  # Parity is a matter of float32: some devices would round to 19 bits.
  with jax.default_matmul_precision('highest'):
    if kind == 'magvitv2':
      made = vision_checks.magvit(model, found, scale)
      return checks.run(found, made, vision_checks.inputs(found), scale)
    if kind == 'clip_vision':
      made = vision_checks.clip(model, found)
      return checks.run(found, made, vision_checks.inputs(found), scale)
    frozen, _ = load_model(kind, reference) if reference else (None, 0)
    made = showo_checks.make(model, frozen, found, max_text)
    return checks.run(found, made, showo_checks.INPUTS, scale)


def command_line() -> argparse.ArgumentParser:
  """Returns the parser of the command's arguments."""
  parser = argparse.ArgumentParser(
    'python -m conversions.verify',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('kind', metavar='KIND', choices=KINDS)
  parser.add_argument('checkpoint', metavar='CHECKPOINT')
  parser.add_argument('io', metavar='IO.npz')
  parser.add_argument(
    '--reference',
    metavar='DIR',
    help='the frozen reference of the losses: a checkpoint of ours, or a '
    'folder or a file of PyTorch',
  )
  parser.add_argument(
    '--scale',
    type=float,
    default=1.0,
    help='multiplies every tolerance; 10 for models of full size',
  )
  return parser


def main(argv: list[str], console: terminal.Console) -> int:
  """Runs the command; returns the exit code."""
  args = command_line().parse_args(argv)
  logging.set_verbosity(logging.ERROR)
  try:
    if not 0 < args.scale < float('inf'):
      raise ValueError(f'--scale is {args.scale}, wanted more than 0')
    found = load_arrays(args.io)
    lines = verify(
      args.kind, args.checkpoint, found, args.reference, args.scale
    )
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  for line in lines:
    console.say(str(line))
  passed = sum(line.passed is True for line in lines)
  failed = sum(line.passed is False for line in lines)
  console.say(f'{passed} passed, {failed} failed')
  if not passed:
    console.say('nothing agreed: is this the file of another model?')
  return 0 if passed and not failed else 1


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:], terminal.terminal()))
