"""The model that a job starts from: trained, bundled or converted.

A trained model (trained.py) and a bundle (bundle.py) hold all parts: the
transformer, the image tokenizer, the text tokenizer, the sizes. Of the
released models each part comes on its own: a Show-o and a MAGVIT-v2, converted
(pretrained.py), and a folder with the text tokenizer; the job's settings say
their rows and their grid.
"""

import dataclasses
import json

from flax import nnx
import jax

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


@dataclasses.dataclass(frozen=True)
class Sizes:
  """What is expected, and what checkpoints leave open.

  Attributes:
    vocab: token ranges.
    decoder: the transformer; also how it is computed.
    tokenizer: the image tokenizer.
    lengths: of rows.
    grid: (h, w) of the image tokens.
  """

  vocab: vocabulary.Vocab
  decoder: phi.PhiConfig
  tokenizer: magvit_config.MagvitConfig
  lengths: token_rows.Lengths
  grid: tuple[int, ...]


def load_parts(
  path: str, tokenizer: str, text: str, sizes: Sizes | None, mesh
) -> model_bundle.Bundle:
  """Reads a model with all that belongs to it.

  Args:
    path: a trained model, a bundle, or a converted Show-o.
    tokenizer: see `load_tokenizer`. Beside a model that has its own, it may be
      '' or missing; if it is there, both must be the same.
    text: a folder or a file for `text_tokenizer.load`; as `tokenizer`.
    sizes: what is wanted; None takes what the model holds. The image tokens of
      the checkpoint may be others: no weight depends on them.
    mesh: from `sharding.make_mesh`; checkpoints are restored straight onto it.

  Raises:
    ValueError: something is missing, damaged, or of other sizes.
  """
  if not has_all_parts(path):
    return _converted(path, tokenizer, text, sizes, mesh)
  if trained_model.is_trained_model(path):
    parts = trained_model.load_parts(path, mesh)
  else:
    parts = model_bundle.load_bundle(path)
    if parts.model is None:
      raise ValueError(f'{path} holds a tokenizer but no model')
  if sizes:
    parts = _sized(path, parts, sizes)
  _check_given(path, parts, tokenizer, text, mesh)
  return parts


def has_all_parts(path: str) -> bool:
  """Returns whether a model has its own tokenizers: trained or a bundle."""
  return not checkpoint.is_checkpoint(path) or trained_model.is_trained_model(
    path
  )


def _converted(path, tokenizer, text, sizes, mesh):
  """Reads a converted Show-o and the parts beside it."""
  record = converted_model.read_record(path, 'showo')
  if sizes is None:
    raise ValueError(f'{path} is a checkpoint: sizes want to be said')
  config = showo.ShowOConfig(
    sizes.vocab, sizes.decoder, sizes.grid[0] * sizes.grid[1]
  )
  model = _model_of_checkpoint(path, record, config, mesh)
  words = text_tokenizer.load(text)
  wanted = (sizes.vocab.text_size, sizes.vocab.eos)
  if (words.size, words.eos) != wanted:
    raise ValueError(
      f'{text}: text ids and end are {(words.size, words.eos)}, wanted {wanted}'
    )
  images = load_tokenizer(tokenizer, mesh)
  _agree(tokenizer, (('tokenizer', images.config, sizes.tokenizer),))
  return model_bundle.Bundle(model, images, words, sizes.lengths, sizes.grid)


def _sized(path, parts, sizes):
  """Returns parts as `sizes` wants them to be computed."""
  _agree(
    path,
    (
      ('vocab', parts.model.config.vocab, sizes.vocab),
      (
        'decoder',
        without_numerics(parts.model.config.decoder),
        without_numerics(sizes.decoder),
      ),
      ('tokenizer', parts.tokenizer.config, sizes.tokenizer),
    ),
  )
  config = showo.ShowOConfig(
    sizes.vocab, sizes.decoder, sizes.grid[0] * sizes.grid[1]
  )
  return dataclasses.replace(
    parts,
    model=_computed(parts.model, config),
    lengths=sizes.lengths,
    grid=sizes.grid,
  )


def _check_given(path, parts, tokenizer, text, mesh):
  """Raises ValueError if given parts are not those that a model has."""
  if tokenizer and processes.broadcast_from_first(
    storage.path(tokenizer).exists
  ):
    given = load_tokenizer(tokenizer, mesh)
    if given.config != parts.tokenizer.config or (
      fingerprints.fingerprint(given)
      != fingerprints.fingerprint(parts.tokenizer)
    ):
      raise ValueError(
        f'tokenizer must be the image tokenizer of {path}, got {tokenizer}, '
        'which has other weights; --config.tokenizer= takes the own one of '
        'the model'
      )
  if text and processes.broadcast_from_first(storage.path(text).exists):
    words = text_tokenizer.load(text)
    same = (words.size, words.eos) == (parts.text.size, parts.text.eos)
    if not same or _words(words) != _words(parts.text):
      raise ValueError(
        f'text must be the text tokenizer of {path}, got {text}, which has '
        'other tokens; --config.text= takes the own one of the model'
      )


def _words(text):
  """Returns the vocabulary and the merges of a text tokenizer."""
  return json.loads(trained_model.tokenizer_to_json(text))['model']


def _computed(model, config):
  """Returns the same arrays in a model that computes as the config says."""
  abstract = nnx.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))
  return jax.tree.unflatten(
    jax.tree.structure(abstract), jax.tree.leaves(model)
  )


def load_model(path: str, config: showo.ShowOConfig, mesh) -> showo.ShowO:
  """Reads the transformer of a trained model, a bundle or a converted Show-o.

  Args:
    path: the folder, or that of a run.
    config: the sizes wanted, and how the model is computed.
    mesh: where a checkpoint is restored.

  Raises:
    ValueError: it is missing, damaged, or of other sizes.
  """
  path = str(run_folder.newest_model(path))
  if checkpoint.is_checkpoint(path):
    record = converted_model.read_record(path, 'showo')
    return _model_of_checkpoint(path, record, config, mesh)
  model = model_bundle.load_bundle(path).model
  if model is None:
    raise ValueError(f'{path} holds a tokenizer but no model')
  _agree_model(path, model.config, config)
  return _computed(model, config)


def _model_of_checkpoint(path, record, config, mesh):
  _check_codes(path, record.sizes)
  _agree_model(path, record.sizes, config)
  return converted_model.restore_model(
    path, dataclasses.replace(record, sizes=config), mesh
  )


def _agree_model(path, config, wanted):
  _agree(
    path,
    (
      ('vocab', config.vocab, wanted.vocab),
      (
        'decoder',
        without_numerics(config.decoder),
        without_numerics(wanted.decoder),
      ),
    ),
  )


def read_config(path: str) -> showo.ShowOConfig:
  """Returns the sizes of a transformer, before any weight is read.

  Args:
    path: a trained model, a bundle, or a converted Show-o.

  Raises:
    ValueError: there is none, it does not say its sizes, or no job can start
      from it.
  """
  if checkpoint.is_checkpoint(path):
    config = converted_model.read_record(path, 'showo').sizes
    _check_codes(path, config)
    return config
  sizes, _ = model_bundle.read_sizes(path)
  if sizes.vocab is None:
    raise ValueError(f'{path} holds a tokenizer but no model')
  height, width = sizes.grid
  return showo.ShowOConfig(sizes.vocab, sizes.decoder, height * width)


def _check_codes(path, config):
  """Raises ValueError if a Show-o reads images as CLIP features.

  No job feeds these, and on codes such a model was not trained.
  """
  if config.clip_width:
    raise ValueError(
      f'init_from must be a Show-o that reads image codes, got {path}, '
      f'which reads CLIP features (clip_width {config.clip_width}): no job '
      'feeds these; take a checkpoint without w_clip_vit'
    )


def load_tokenizer(path: str, mesh) -> magvit.Magvit:
  """Reads an image tokenizer.

  Args:
    path: a converted MAGVIT-v2, a trained model, a bundle, or the folder of a
      run that wrote one of these.
    mesh: where a checkpoint is restored.

  Raises:
    ValueError: it is missing or damaged.
  """
  path = str(run_folder.newest_model(path))
  if not checkpoint.is_checkpoint(path):
    return model_bundle.load_bundle(path).tokenizer
  return converted_model.restore_model(
    path, converted_model.read_record(path, 'magvitv2'), mesh
  )


def weight_hashes(path: str, tokenizer: str) -> dict[str, str]:
  """Returns the SHA-256 of all weights that `load_parts` takes, by name.

  Of a trained model it is its own; of a bundle, those of its files; of
  converted checkpoints, those of the files that these were converted from.
  """
  if not checkpoint.is_checkpoint(path):
    return model_bundle.read_sizes(path)[1]
  record = converted_model.read_record(path, 'showo')
  if trained_model.is_trained_model(path):
    return record.sha256
  found = {f'model/{name}': value for name, value in record.sha256.items()}
  images = tokenizer_hashes(tokenizer)
  return found | {f'tokenizer/{n}': value for n, value in images.items()}


def tokenizer_hashes(path: str) -> dict[str, str]:
  """Returns the SHA-256 of what `load_tokenizer` reads, by name."""
  path = str(run_folder.newest_model(path))
  if not checkpoint.is_checkpoint(path):
    return model_bundle.read_sizes(path)[1]
  return converted_model.read_record(path, 'magvitv2').sha256


def check_exists(paths: list[str], missing: str) -> None:
  """Raises ValueError for the first path that is not there.

  Args:
    paths: what is wanted; '' is passed over.
    missing: the line that says how to get it.
  """
  for path in paths:
    if path and not storage.path(path).exists():
      raise ValueError(f'no checkpoint at {path}. {missing}'.strip())


def without_numerics(decoder: phi.PhiConfig) -> phi.PhiConfig:
  """Returns the sizes without what says only how they are computed."""
  return phi.PhiConfig(
    **{
      field.name: getattr(decoder, field.name)
      for field in dataclasses.fields(decoder)
      if field.name not in trained_model.NUMERICS
    }
  )


def _agree(path, rows):
  for name, found, wanted in rows:
    if found != wanted:
      raise ValueError(f'{path}: {name} is {found}, wanted {wanted}')
