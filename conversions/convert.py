"""Converts checkpoints: `python -m conversions.convert KIND SRC DST`.

  KIND  showo        Show-o or HermesFlow, also with the CLIP projector
        magvitv2     the image tokenizer
        phi          a plain Phi-1.5, which becomes an initial Show-o
        clip_vision  the vision tower of CLIP ViT-L/14-336
        clip         a complete CLIP: both towers and their projections
        inception    the Inception v3 of the Frechet distance
        bert         BERT, e.g. bert-large-uncased or all-MiniLM-L6-v2
        mpnet        MPNet, e.g. all-mpnet-base-v2
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
import errno
import os
import pathlib
import sys

from hermesflow_jax.runtime import entry_point

if __name__ == '__main__':
  entry_point.prepare()  # Before imports that take time.

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
from hermesflow_jax.runtime import platforms
from hermesflow_jax.runtime import stop_handlers
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import write_faults

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


@stop_handlers.single_interrupt()
def main(argv: list[str], console: terminal.Console) -> int:
  """Runs the command; returns 0, 2 after an error, 130 after Ctrl-C."""
  args = command_line().parse_args(argv)
  # The threads of orbax log errors with tracebacks; `main` prints a line.
  logging.set_verbosity(logging.FATAL)
  write_faults.silence_repeats()
  before = _identity(args.dst)
  try:
    _check_flags(args)
    platforms.check()
    _convert(args, console)
  except (ValueError, OSError) as error:
    print(f'error: {_reason(error, args.dst)}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    # A folder gets its name at once; afterwards remains are removed.
    if _identity(args.dst) == before:
      print(f'stopped; nothing was written to {args.dst}', file=sys.stderr)
    else:
      print(f'stopped; {args.dst} is complete', file=sys.stderr)
    return stop_handlers.STOPPED
  console.say(f'wrote {args.dst}')
  return 0


def _identity(path: str) -> tuple[int, int] | None:
  """Returns numbers that a path and no other has; None if it does not exist."""
  try:
    status = os.stat(path)
  except OSError:
    return None
  return status.st_dev, status.st_ino


def _reason(error: Exception, target: str) -> str:
  """Returns an error as a single line, in plain words for a full disk."""
  text = ' '.join(str(error).split())
  if os.strerror(errno.ENOSPC) in text:
    return (
      f'no space is left on the disk of {target}; free some, then run the '
      'same command again'
    )
  for number in (errno.EDQUOT, errno.EFBIG):
    if os.strerror(number) in text:
      return (
        f'{target} could not be written: {os.strerror(number)}; give a DST on '
        'another disk, or ask for more space'
      )
  return text


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
  common = {'overwrite': args.overwrite, 'console': console}
  if args.kind == 'lora' and args.reverse:
    to_peft.write_folder(args.src, args.dst, dtype=args.dtype, **common)
  elif args.kind == 'lora':
    from_peft.write_adapters(args.src, args.dst, base=args.base, **common)
  elif args.reverse:
    options = {'sizes': args.sizes, 'dtype': args.dtype}
    to_pytorch.write_model(args.kind, args.src, args.dst, **options, **common)
  else:
    record = from_pytorch.write_checkpoint(
      args.kind, args.src, args.dst, seed=args.seed, **common
    )
    console.say(f'{record.source} ({record.dtype})')


def run(argv: list[str]) -> int:
  """Runs the command in a process of its own; returns the exit code."""
  return main(argv, terminal.terminal())


if __name__ == '__main__':
  entry_point.run(run, sys.argv[1:])
