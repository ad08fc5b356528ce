"""Compares a checkpoint with activations saved from PyTorch.

  python -m conversions.verify KIND CHECKPOINT IO.npz [--reference DIR]

  KIND        showo, magvitv2, clip_vision, clip, inception, bert or mpnet
  CHECKPOINT  from `conversions.convert`, a trained model, or its run
  IO.npz      inputs and outputs saved from PyTorch (docs/conversion.md)

Prints a line for each key: the largest error and the tolerance. Exit code: 0 if
every known key agrees, 1 if a key does not, 2 if a file cannot be read.
"""

import argparse
from collections.abc import Callable
import os
import sys
import zipfile

from hermesflow_jax.runtime import entry_point

if __name__ == '__main__':
  entry_point.prepare()  # Before imports that take time.

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')

from absl import logging
import jax
import numpy as np

from conversions import from_pytorch
from conversions import paths
from conversions.files import source
from conversions.verification import checks
from conversions.verification import image_encoder_checks
from conversions.verification import showo_checks
from conversions.verification import text_encoder_checks
from conversions.verification import vision_checks
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.runtime import platforms
from hermesflow_jax.runtime import stop_handlers
from hermesflow_jax.runtime import terminal

KINDS = tuple(kind for kind in from_pytorch.KINDS if kind != 'phi')


def load_arrays(path: str) -> dict[str, np.ndarray]:
  """Reads activations from an npz file.

  Raises:
    ValueError: the file is not an npz file with plain arrays.
  """
  try:
    # Opened here because numpy does not close a file that it cannot read.
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


def load_or_convert(
  kind: str, path: str, say: Callable[[str], None] = lambda line: None
):
  """Loads a checkpoint, or converts PyTorch weights in memory.

  Args:
    kind: name in KINDS.
    path: checkpoint, trained model, run, or PyTorch weights.
    say: see `from_pytorch.read_model`.

  Returns:
    (model, text tokens per text-to-image row).

  Raises:
    ValueError: the model is missing, damaged or has another kind.
  """
  folder = str(run_folder.newest_model(path))
  if checkpoint.is_checkpoint(folder):
    record = converted_model.read_record(folder, kind)
    return converted_model.restore_model(folder, record), record.max_text
  weights = source.find(path, say)
  return from_pytorch.read_model(kind, weights, seed=0, say=say)


def verify(
  kind: str,
  path: str,
  activations: dict[str, np.ndarray],
  reference: str | None,
  scale: float,
  say: Callable[[str], None] = lambda line: None,
) -> list[checks.Result]:
  """Compares a checkpoint with activations.

  Args:
    kind: name in KINDS.
    path: checkpoint, see `load_or_convert`.
    activations: arrays by key.
    reference: the frozen reference model's checkpoint, or None.
    scale: multiplies every tolerance; integers must be equal.
    say: see `load_or_convert`.

  Returns:
    A result for each key.

  Raises:
    ValueError: a checkpoint cannot be read.
  """
  model, max_text = load_or_convert(kind, path, say)
  # Full float32: some devices round the inputs of a product to 19 bits.
  with jax.default_matmul_precision('highest'):
    if kind == 'magvitv2':
      checks_by_key = vision_checks.magvit(model, activations, scale)
      inputs = vision_checks.inputs(activations)
    elif kind == 'clip_vision':
      checks_by_key = vision_checks.clip(model, activations)
      inputs = vision_checks.inputs(activations)
    elif kind == 'clip':
      checks_by_key = image_encoder_checks.clip(model, activations)
      inputs = image_encoder_checks.CLIP_INPUTS
    elif kind == 'inception':
      checks_by_key = image_encoder_checks.inception(model, activations)
      inputs = image_encoder_checks.INCEPTION_INPUTS
    elif kind in from_pytorch.TEXT_ENCODERS:
      checks_by_key = text_encoder_checks.make(model, activations)
      inputs = text_encoder_checks.INPUTS
    else:
      frozen = None
      if reference:
        frozen, _ = load_or_convert(kind, reference, say)
      checks_by_key = showo_checks.make(model, frozen, activations, max_text)
      inputs = showo_checks.INPUTS
    return checks.run(activations, checks_by_key, inputs, scale)


def command_line() -> argparse.ArgumentParser:
  """Returns the command line parser."""
  parser = argparse.ArgumentParser(
    'python -m conversions.verify',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('kind', metavar='KIND', choices=KINDS)
  parser.add_argument('checkpoint', metavar='CHECKPOINT', type=paths.argument)
  parser.add_argument('io', metavar='IO.npz', type=paths.argument)
  parser.add_argument(
    '--reference',
    metavar='DIR',
    type=paths.argument,
    help='frozen reference model of the losses: a checkpoint of this library, '
    'or a folder or file of PyTorch weights',
  )
  parser.add_argument(
    '--scale',
    type=float,
    default=1.0,
    help='multiplies every tolerance; 10 for models of full size',
  )
  return parser


@stop_handlers.single_interrupt()
def main(argv: list[str], console: terminal.Console) -> int:
  """Runs the command; returns the exit code."""
  args = command_line().parse_args(argv)
  logging.set_verbosity(logging.FATAL)
  try:
    if not 0 < args.scale < float('inf'):
      raise ValueError(f'--scale must be positive, got {args.scale}')
    platforms.check()
    activations = load_arrays(args.io)
    results = verify(
      args.kind,
      args.checkpoint,
      activations,
      args.reference,
      args.scale,
      console.say,
    )
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('stopped', file=sys.stderr)
    return stop_handlers.STOPPED
  for result in results:
    console.say(str(result))
  passed = sum(result.passed is True for result in results)
  failed = sum(result.passed is False for result in results)
  console.say(f'{passed} passed, {failed} failed')
  if not passed:
    console.say('no key agrees: IO.npz may belong to another model')
  return 0 if passed and not failed else 1


def run(argv: list[str]) -> int:
  """Runs the command in a process of its own; returns the exit code."""
  return main(argv, terminal.terminal())


if __name__ == '__main__':
  entry_point.run(run, sys.argv[1:])
