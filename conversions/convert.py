"""Converts checkpoints: `python -m conversions.convert KIND SRC DST`.

  KIND  showo        Show-o or HermesFlow, also with the CLIP projector
        magvitv2     the image tokenizer
        phi          a plain Phi-1.5, which becomes an initial Show-o
        clip_vision  the vision tower of CLIP ViT-L/14-336
  SRC   a folder, a file, or a hub id owner/name[@revision]
  DST   a folder that does not exist yet

With --reverse, SRC is a model of this library: a converted checkpoint, a
trained model, a bundle, or the folder of a run, whose newest model is taken.
DST gets `config.json` and the weights in the official form, under the file name
that the official loader reads.
"""

import argparse
import os
import sys

# Arrays pass through host memory only.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

from hermesflow_jax.runtime import command

if __name__ == '__main__':
  command.prepare()  # The imports below take seconds.

from absl import logging

from conversions import from_pytorch
from conversions import to_pytorch
from hermesflow_jax.runtime import platforms
from hermesflow_jax.runtime import terminal

KINDS = from_pytorch.KINDS


def command_line() -> argparse.ArgumentParser:
  """Returns the command line parser."""
  parser = argparse.ArgumentParser(
    'python -m conversions.convert',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('kind', metavar='KIND', choices=KINDS)
  parser.add_argument('src', metavar='SRC')
  parser.add_argument('dst', metavar='DST')
  parser.add_argument('--reverse', action='store_true')
  parser.add_argument(
    '--overwrite',
    action='store_true',
    help='replace DST, if this command has written it',
  )
  parser.add_argument(
    '--sizes',
    metavar='FOLDER',
    help='with --reverse: the model that the run of SRC started from. Needed '
    'for checkpoints of earlier releases, which do not hold their sizes',
  )
  parser.add_argument(
    '--dtype',
    choices=to_pytorch.DTYPES,
    help='with --reverse: dtype of the weights. Default: the dtype before '
    'conversion, and float32 for trained models',
  )
  parser.add_argument(
    '--seed',
    type=int,
    default=0,
    help='random seed of the new vocabulary rows of a plain Phi',
  )
  return parser


def main(argv: list[str], console: terminal.Console) -> int:
  """Runs the command; returns 0, or 2 after an error message."""
  args = command_line().parse_args(argv)
  logging.set_verbosity(logging.FATAL)
  try:
    platforms.check()
    if args.reverse:
      to_pytorch.write_model(
        args.kind,
        args.src,
        args.dst,
        overwrite=args.overwrite,
        sizes=args.sizes,
        dtype=args.dtype,
        console=console,
      )
    elif args.sizes or args.dtype:
      raise ValueError('--sizes and --dtype require --reverse')
    else:
      record = from_pytorch.write_checkpoint(
        args.kind,
        args.src,
        args.dst,
        overwrite=args.overwrite,
        seed=args.seed,
        console=console,
      )
      console.say(f'{record.source} ({record.dtype})')
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  console.say(f'wrote {args.dst}')
  return 0


if __name__ == '__main__':
  command.run(lambda argv: main(argv, terminal.terminal()), sys.argv[1:])
