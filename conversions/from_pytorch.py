"""Converts PyTorch weights to a checkpoint."""

from collections.abc import Callable
import pathlib

import jax

from conversions import model_sizes
from conversions import tensor_names
from conversions import weight_table
from conversions.files import destination
from conversions.files import source
from conversions.files import tokenizer_files
from conversions.tables import bert_table
from conversions.tables import clip_model_table
from conversions.tables import clip_table
from conversions.tables import inception_table
from conversions.tables import magvit_table
from conversions.tables import mpnet_table
from conversions.tables import phi_table
from conversions.tables import showo_table
from conversions.tables import text_encoder_tensors
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text

KINDS = (
  *('showo', 'magvitv2', 'phi'),
  *('clip_vision', 'clip', 'inception'),
  *('bert', 'mpnet'),
)
TEXT_ENCODERS = {'bert': bert_table, 'mpnet': mpnet_table}
WITH_TOKENIZER = (*TEXT_ENCODERS, 'clip')
# kind: (table, function that leaves out tensors that are not read)
IMAGE_ENCODERS = {
  'clip_vision': (
    clip_table,
    lambda state_dict, _: clip_table.vision(state_dict),
  ),
  'clip': (clip_model_table, clip_model_table.without_positions),
  'inception': (inception_table, inception_table.without_counters),
}
NAMES = {
  'showo': tensor_names.Names(
    showo_table.TABLE + showo_table.PROJECTOR, outer=phi_table.PREFIX
  ),
  'magvitv2': tensor_names.Names(magvit_table.TABLE, magvit_table.CONSTANTS),
  'phi': tensor_names.Names(phi_table.ROWS),
  # A complete CLIP holds a vision tower.
  'clip_vision': tensor_names.Names(
    clip_model_table.TABLE, clip_model_table.POSITIONS, outer='vision_model.'
  ),
  'clip': tensor_names.Names(
    clip_model_table.TABLE, clip_model_table.POSITIONS
  ),
  'inception': tensor_names.Names(
    inception_table.TABLE, inception_table.COUNTERS
  ),
  'bert': tensor_names.Names(bert_table.TABLE),
  'mpnet': tensor_names.Names(mpnet_table.TABLE),
}


def read_model(
  kind: str,
  weights: source.Source,
  seed: int,
  progress=iter,
  say: Callable[[str], None] = lambda line: None,
):
  """Builds a model from PyTorch weights.

  Args:
    kind: name in KINDS.
    weights: tensors and `config.json`.
    seed: random seed for a plain Phi's new vocabulary rows.
    progress: wraps the iteration over parameters.
    say: receives a line for each difference from the official form that was
      accepted.

  Returns:
    (model, text tokens per text-to-image row, 0 for other models).

  Raises:
    ValueError: lists all faults in the tensors or the config.
  """
  config = weights.config
  if kind == 'inception':
    inception_table.refuse_auxiliary(weights.tensors)
  state_dict = weights.tensors
  if kind in TEXT_ENCODERS:
    state_dict = text_encoder_tensors.encoder_tensors(state_dict, say)
  state_dict = tensor_names.plain(state_dict, kind, NAMES, say)
  if kind in ('phi', 'showo'):
    theta = config.get('rope_theta', 10_000.0)
    state_dict = tensor_names.without_frequencies(state_dict, theta, say)
  integers = magvit_table.INTEGERS if kind == 'magvitv2' else ()
  for line in weight_table.describe_dtypes(state_dict, integers):
    say(line)
  if kind == 'phi':
    return phi_table.to_jax(state_dict, config, seed, progress)
  if kind == 'showo':
    sizes, max_text = model_sizes.read_or_list_faults(
      lambda: showo_table.read_sizes(state_dict, config),
      state_dict,
      showo_table.TABLE + showo_table.PROJECTOR,
      showo_table.rows_of_names(state_dict),
    )
    return showo_table.to_jax(state_dict, sizes, progress), max_text
  if kind == 'magvitv2':
    sizes = model_sizes.read_or_list_faults(
      lambda: magvit_table.read_sizes(state_dict, config),
      state_dict,
      magvit_table.TABLE,
      magvit_table.TABLE,
      magvit_table.CONSTANTS,
    )
    return magvit_table.to_jax(state_dict, sizes, progress), 0
  if kind in TEXT_ENCODERS:
    table = TEXT_ENCODERS[kind]
    sizes = model_sizes.read_or_list_faults(
      lambda: table.read_sizes(state_dict, config),
      state_dict,
      table.TABLE,
      text_encoder_tensors.rows_of(table.TABLE, state_dict),
    )
    return table.to_jax(state_dict, sizes, progress), 0
  table, select = IMAGE_ENCODERS[kind]
  state_dict = select(state_dict, say)
  sizes = model_sizes.read_or_list_faults(
    lambda: table.read_sizes(state_dict, config),
    state_dict,
    table.TABLE,
    table.TABLE,
  )
  return table.to_jax(state_dict, sizes, progress), 0


def write_checkpoint(
  kind: str,
  src: str,
  dst: str,
  *,
  overwrite: bool,
  seed: int,
  console: terminal.Console,
) -> converted_model.ConversionRecord:
  """Converts PyTorch weights and writes a checkpoint.

  Args:
    kind: name in KINDS.
    src: PyTorch weights, see `source.find`.
    dst: folder to create.
    overwrite: whether to replace a converted checkpoint at `dst`.
    seed: random seed for a plain Phi's new vocabulary rows.
    console: receives progress.

  Returns:
    The checkpoint's record.

  Raises:
    ValueError: `src` or `dst` is invalid; `dst` is unchanged.
  """
  with destination.new_folder(
    dst, overwrite, _is_converted, console.say
  ) as folder:
    weights = source.find(src, console.say)
    console.say(
      f'{user_text.counted(len(weights.tensors), "tensor")} '
      f'in {user_text.counted(len(weights.files), "file")}'
    )
    model, max_text = read_model(
      kind, weights, seed, console.progress('reading'), console.say
    )
    if sizes := model_sizes.describe(model.config, weights.config):
      console.say(sizes)
    # Frequencies are not read, and have a type of their own.
    read = {
      name: tensor
      for name, tensor in weights.tensors.items()
      if not tensor_names.FREQUENCIES.fullmatch(name)
    }
    sums = weights.sums()
    if kind == 'phi' and seed:
      # Another seed makes another model from the same files.
      sums['seed of new rows'] = str(seed)
    record = converted_model.ConversionRecord(
      kind='showo' if kind == 'phi' else kind,
      sizes=model.config,
      max_text=max_text,
      dtype=str(weight_table.stored_dtype(read)),
      source=weights.name,
      sha256=sums,
    )
    destination.check_space(
      folder, sum(a.nbytes for a in jax.tree.leaves(model))
    )
    console.say('writing')
    checkpoint.save(str(folder), model, record.meta())
    if kind in WITH_TOKENIZER:
      tokenizer_files.copy_to_checkpoint(
        weights.files[0].parent, folder, console.say
      )
  return record


def _is_converted(folder: pathlib.Path) -> bool:
  try:
    return 'converted' in checkpoint.read_metadata(str(folder))
  except ValueError:
    return False
