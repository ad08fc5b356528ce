"""Converts checkpoints: `python -m conversions.convert KIND SRC DST`.

  KIND  showo        Show-o or HermesFlow, also with the CLIP projector
        magvitv2     the image tokenizer
        phi          a plain Phi-1.5, which becomes an initial Show-o
        clip_vision  the vision tower of CLIP ViT-L/14-336
  SRC   a folder, a file, or a hub id owner/name[@revision]
  DST   a folder that is not there yet

With --reverse SRC is a model of ours (converted, trained, a bundle, or the
folder of a run, which means its newest model). DST gets `config.json` and the
weights in the official form, under the name that the official loader reads.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys

# The arrays pass through the host's memory; an accelerator has no part in it.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

from absl import logging
import numpy as np

from conversions import model_sizes
from conversions import weight_table
from conversions.files import destination
from conversions.files import safetensors_file
from conversions.files import source
from conversions.files import tensors
from conversions.tables import clip_table
from conversions.tables import magvit_table
from conversions.tables import phi_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal

KINDS = ('showo', 'magvitv2', 'phi', 'clip_vision')
DTYPES = {str(dtype): dtype for dtype in tensors.FLOATS}
# The file that the official loader of each kind looks for.
WEIGHTS = {
  'showo': 'pytorch_model.safetensors',
  'magvitv2': 'pytorch_model.safetensors',
  'clip_vision': 'model.safetensors',
}
# 'pt' is what transformers looks for.
METADATA = {'format': 'pt', 'written_by': 'hermesflow_jax'}


def model_of(kind: str, found: source.Source, seed: int, progress=iter):
  """Returns the model of a source, and the text tokens of its t2i rows.

  Raises:
    ValueError: names every fault of its tensors or its config.
  """
  weights, config = found.tensors, found.config
  if kind == 'phi':
    return phi_table.to_jax(weights, config, seed, progress)
  if kind == 'showo':
    sizes, max_text = model_sizes.sized(
      lambda: showo_table.read_sizes(weights, config),
      weights,
      showo_table.TABLE + showo_table.PROJECTOR,
      showo_table.rows_of_names(weights),
    )
    return showo_table.to_jax(weights, sizes, progress), max_text
  if kind == 'magvitv2':
    sizes = model_sizes.sized(
      lambda: magvit_table.read_sizes(weights, config),
      weights,
      magvit_table.TABLE,
      magvit_table.TABLE,
      magvit_table.CONSTANTS,
    )
    return magvit_table.to_jax(weights, sizes, progress), 0
  tower = clip_table.vision(weights)
  sizes = model_sizes.sized(
    lambda: clip_table.read_sizes(tower, config),
    tower,
    clip_table.TABLE,
    clip_table.TABLE,
  )
  return clip_table.to_jax(tower, sizes, progress), 0


def forward(
  kind: str,
  src: str,
  dst: str,
  *,
  overwrite: bool,
  seed: int,
  console: terminal.Console,
) -> converted_model.ConversionRecord:
  """Converts PyTorch weights to a checkpoint.

  Args:
    kind: of KINDS.
    src: where they are, see `source.find`.
    dst: the folder to make.
    overwrite: whether a checkpoint that is there may be replaced.
    seed: of the rows by which a plain Phi grows.
    console: says what is done.

  Returns:
    What the checkpoint says of itself.

  Raises:
    ValueError: anything is wrong with `src` or `dst`; `dst` is as it was.
  """
  with destination.new_folder(dst, overwrite, _is_converted) as folder:
    found = source.find(src, console.say)
    console.say(f'{len(found.tensors)} tensors in {len(found.files)} file(s)')
    model, max_text = model_of(kind, found, seed, console.progress('reading'))
    sums = found.sums()
    if kind == 'phi' and seed:
      # Of the same files, another seed makes another model.
      sums['seed of new rows'] = str(seed)
    record = converted_model.ConversionRecord(
      kind='showo' if kind == 'phi' else kind,
      sizes=model.config,
      max_text=max_text,
      dtype=str(weight_table.common_dtype(found.tensors)),
      source=found.name,
      sha256=sums,
    )
    console.say('writing')
    checkpoint.save(str(folder), model, record.meta())
  return record


def _is_converted(folder: pathlib.Path) -> bool:
  try:
    return 'converted' in checkpoint.read_metadata(str(folder))
  except ValueError:
    return False


def entries_of(kind: str, model) -> dict[str, weight_table.Entry]:
  """Returns the tensors of the official layout, sorted by name."""
  if kind == 'showo':
    return weight_table.entries(model, showo_table.rows_of(model.config))
  if kind == 'magvitv2':
    return weight_table.entries(
      model, magvit_table.TABLE, magvit_table.constants(model.config)
    )
  return weight_table.entries(model, clip_table.TABLE)


def official_config(
  record: converted_model.ConversionRecord, dtype: str
) -> dict:
  """Returns the official `config.json` of a model."""
  if record.kind == 'showo':
    return showo_table.official(record.sizes, record.max_text)
  if record.kind == 'magvitv2':
    return magvit_table.official(record.sizes)
  return clip_table.official(record.sizes, dtype)


def ours(kind: str, src: str, sizes: str | None):
  """Reads a model of ours.

  Args:
    kind: 'showo', 'magvitv2' or 'clip_vision'.
    src: a converted checkpoint, a trained model, a bundle, or the folder of a
      run, which means its newest model.
    sizes: a model that says the sizes of `src`; needed for a checkpoint that
      does not, as those within a round and those of earlier releases.

  Returns:
    (model, Record).

  Raises:
    ValueError: it is none of these, damaged, or does not fit the sizes.
  """
  if not storage.path(src).exists():
    raise ValueError(f'no checkpoint or bundle at {src}')
  src = str(run_folder.newest_model(src))
  if not checkpoint.is_checkpoint(src):
    return _bundled(kind, src)
  if sizes is None or trained_model.is_trained_model(src):
    record = converted_model.read_record(src, kind)
    return converted_model.restore_model(src, record), record
  sizes = str(run_folder.newest_model(sizes))
  if checkpoint.is_checkpoint(sizes):
    record = converted_model.read_record(sizes, kind)
  else:
    _, record = _bundled(kind, sizes)
  names = checkpoint.array_shapes(src)
  part = 'model/' if any(name.startswith('model/') for name in names) else ''
  record = dataclasses.replace(record, part=part, dtype='float32')
  return converted_model.restore_model(src, record), record


def _bundled(kind, path):
  """The part of a bundle that is of a kind, and its record."""
  parts = model_bundle.load_bundle(path)
  model = {'showo': parts.model, 'magvitv2': parts.tokenizer}.get(kind)
  if model is None:
    raise ValueError(f'bundle {path} holds no {kind}')
  _, sums = model_bundle.read_sizes(path)
  return model, converted_model.ConversionRecord(
    kind=kind,
    sizes=model.config,
    dtype='float32',
    source=path,
    max_text=parts.lengths.max_text if kind == 'showo' else 0,
    sha256=sums,
  )


def reverse(
  kind: str,
  src: str,
  dst: str,
  *,
  overwrite: bool,
  sizes: str | None,
  dtype: str | None,
  console: terminal.Console,
) -> None:
  """Writes a model of ours in the official form: weights and `config.json`.

  Args:
    kind: 'showo', 'magvitv2' or 'clip_vision'.
    src: see `ours`.
    dst: the folder to make.
    overwrite: whether such a folder may be replaced.
    sizes: see `ours`.
    dtype: of the tensors; None: as they came, float32 when trained.
    console: says what is done.

  Raises:
    ValueError: anything is wrong with `src` or `dst`; `dst` is as it was.
  """
  if kind == 'phi':
    raise ValueError('what was a plain Phi is a Show-o now: use KIND showo')
  with destination.new_folder(dst, overwrite, _is_reversed) as folder:
    model, record = ours(kind, src, sizes)
    dtype = DTYPES[dtype or record.dtype]
    config = official_config(record, str(dtype))
    found = entries_of(kind, model)
    wanted = {n: (e.shape, _stored(e.dtype, dtype)) for n, e in found.items()}
    folder.mkdir()

    def make(name):
      array = np.asarray(found[name].make())
      return array.astype(wanted[name][1], order='C', copy=False)

    safetensors_file.write(
      folder / WEIGHTS[kind],
      wanted,
      make,
      METADATA,
      console.progress('writing'),
    )
    text = json.dumps(config, indent=2, sort_keys=True) + '\n'
    (folder / 'config.json').write_text(text)


def _stored(found, dtype):
  """Floating tensors are stored in `dtype`, others as they are."""
  return dtype if found in tensors.FLOATS else found


def _is_reversed(folder: pathlib.Path) -> bool:
  names = {p.name for p in folder.iterdir()} - {'config.json'}
  if len(names) != 1 or not names <= set(WEIGHTS.values()):
    return False
  try:
    return safetensors_file.metadata(folder / names.pop()) == METADATA
  except (OSError, ValueError):
    return False


def command_line() -> argparse.ArgumentParser:
  """Returns the parser of the command's arguments."""
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
    help='replace DST, if such a command made it',
  )
  parser.add_argument(
    '--sizes',
    metavar='FOLDER',
    help='with --reverse, of a SRC that does not say its sizes (an earlier '
    'release wrote it): the model that its run started from',
  )
  parser.add_argument(
    '--dtype',
    choices=DTYPES,
    help='with --reverse; default: float32 of what was trained, and of what '
    'was converted the type it came in',
  )
  parser.add_argument(
    '--seed', type=int, default=0, help='of the new rows of a plain Phi'
  )
  return parser


def main(argv: list[str], console: terminal.Console) -> int:
  """Runs the command; returns 0, or 2 after a message about what is wrong."""
  args = command_line().parse_args(argv)
  logging.set_verbosity(logging.ERROR)
  try:
    if args.reverse:
      reverse(
        args.kind,
        args.src,
        args.dst,
        overwrite=args.overwrite,
        sizes=args.sizes,
        dtype=args.dtype,
        console=console,
      )
    elif args.sizes or args.dtype:
      raise ValueError('--sizes and --dtype go with --reverse')
    else:
      record = forward(
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
  sys.exit(main(sys.argv[1:], terminal.terminal()))
