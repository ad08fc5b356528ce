"""Converts checkpoints: `python -m conversions.convert KIND SRC DST`.

  KIND  showo        Show-o or HermesFlow, also with the CLIP projector
        magvitv2     the image tokenizer
        phi          a plain Phi-1.5, which becomes an initial Show-o
        clip_vision  the vision tower of CLIP ViT-L/14-336
        clip         a complete CLIP: both towers and their projections
        inception    the Inception v3 of the Frechet distance
        lora         LoRA adapters, a folder of PEFT; --base names their model
  SRC   a folder, a file, or a hub id owner/name[@revision]. A folder of
        checkpoints (checkpoint-1000, ...) means the newest
  DST   a folder that does not exist yet, or is empty

With --reverse, SRC is a model of this library: a converted checkpoint, a
trained model, a bundle, or the folder of a run, whose newest model is taken
(with KIND lora its newest adapters).
DST gets `config.json` and the weights in the official form, under the file name
that the official loader reads.
"""

import argparse
import os
import pathlib
import sys

from conversions import stop_signals

if __name__ == '__main__':
  stop_signals.exit_at_once()

# Arrays pass through host memory only.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')

from absl import logging

from conversions import from_peft
from conversions import from_pytorch
from conversions import paths
from conversions import to_peft
from conversions import to_pytorch
from hermesflow_jax.runtime import entry_point
from hermesflow_jax.runtime import platforms
from hermesflow_jax.runtime import terminal

KINDS = (*from_pytorch.KINDS, 'lora')


def command_line() -> argparse.ArgumentParser:
  """Returns the command line parser."""
  parser = argparse.ArgumentParser(
    'python -m conversions.convert',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('kind', metavar='KIND', choices=KINDS)
  parser.add_argument('src', metavar='SRC', type=paths.argument)
  parser.add_argument('dst', metavar='DST', type=paths.argument)
  parser.add_argument('--reverse', action='store_true')
  parser.add_argument(
    '--overwrite',
    action='store_true',
    help='replace DST, if this command has written it',
  )
  parser.add_argument(
    '--base',
    metavar='FOLDER',
    type=paths.argument,
    help='with KIND lora: the model of this library that the adapters belong '
    'to, as in --config.init_from',
  )
  parser.add_argument(
    '--sizes',
    metavar='FOLDER',
    type=paths.argument,
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
  """Runs the command; returns 0, 2 after an error, 130 after Ctrl-C."""
  args = command_line().parse_args(argv)
  # The threads of orbax log errors with tracebacks; `main` prints a line.
  logging.set_verbosity(logging.FATAL)
  try:
    _check_flags(args)
    platforms.check()
    _convert(args, console)
  except (ValueError, OSError) as error:
    reason = str(error)
    if 'No space left on device' in reason:
      reason = (
        f'no space is left on the disk of {args.dst}; free some, then run the '
        'same command again'
      )
    print(f'error: {reason}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print(f'stopped; nothing was written to {args.dst}', file=sys.stderr)
    return stop_signals.STOPPED
  console.say(f'wrote {args.dst}')
  return 0


def _check_flags(args) -> None:
  """Raises ValueError for flags that have no meaning together."""
  if not args.reverse and (args.sizes or args.dtype):
    raise ValueError('--sizes and --dtype require --reverse')
  if args.base and (args.kind != 'lora' or args.reverse):
    raise ValueError('--base requires KIND lora, without --reverse')
  if args.sizes and args.kind == 'lora':
    raise ValueError('--sizes must not be given with KIND lora')
  source, target = (pathlib.Path(p).absolute() for p in (args.src, args.dst))
  if not args.reverse and source.is_dir() and source in target.parents:
    raise ValueError(f'DST must not lie in SRC, which is read, got {args.dst}')


def _convert(args, console: terminal.Console) -> None:
  if args.kind == 'lora' and args.reverse:
    to_peft.write_folder(
      args.src,
      args.dst,
      dtype=args.dtype,
      overwrite=args.overwrite,
      console=console,
    )
  elif args.kind == 'lora':
    from_peft.write_adapters(
      args.src,
      args.dst,
      base=args.base,
      overwrite=args.overwrite,
      console=console,
    )
  elif args.reverse:
    to_pytorch.write_model(
      args.kind,
      args.src,
      args.dst,
      overwrite=args.overwrite,
      sizes=args.sizes,
      dtype=args.dtype,
      console=console,
    )
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


def run(argv: list[str]) -> int:
  """Runs the command in a process of its own; returns the exit code."""
  stop_signals.raise_interrupt()
  return main(argv, terminal.terminal())


if __name__ == '__main__':
  entry_point.run(run, sys.argv[1:])
