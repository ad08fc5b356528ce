"""What a job starts from: a bundle, or checkpoints converted from PyTorch.

A bundle (bundle.py) holds all there is to a model. Of the released models
each part comes on its own: a Show-o and a MAGVIT-v2, converted
(pretrained.py), and a folder with the text tokenizer. Their rows and their
grid are the job's to say.
"""

import dataclasses

from flax import nnx
import jax

from hermesflow_jax import bundle
from hermesflow_jax import checkpoint
from hermesflow_jax import pretrained
from hermesflow_jax import prompting
from hermesflow_jax import storage
from hermesflow_jax import text as text_lib
from hermesflow_jax import vocab as vocab_lib
from hermesflow_jax.models import magvit
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo


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

  vocab: vocab_lib.Vocab
  decoder: phi.PhiConfig
  tokenizer: magvit.MagvitConfig
  lengths: prompting.Lengths
  grid: tuple[int, ...]


def load(
    path: str, tokenizer: str, text: str, sizes: Sizes | None, mesh
) -> bundle.Bundle:
  """Reads a model with all that belongs to it.

  Args:
    path: a bundle, or a converted Show-o.
    tokenizer: see `load_tokenizer`; not read for a bundle.
    text: a folder or a file for `text.load`; not read for a bundle.
    sizes: what is wanted; None takes what a bundle holds.
    mesh: from `sharding.make_mesh`; checkpoints are restored straight onto it.

  Raises:
    ValueError: something is missing, damaged, or of other sizes.
  """
  if not checkpoint.is_one(path):
    return _bundle(path, sizes)
  if sizes is None:
    raise ValueError(f'{path} is a checkpoint: sizes want to be said')
  record = pretrained.read(path, 'showo')
  config = showo.ShowOConfig(
      sizes.vocab, sizes.decoder, sizes.grid[0] * sizes.grid[1],
      record.sizes.clip_width,
  )
  model = load_model(path, config, mesh)
  words = text_lib.load(text)
  wanted = (sizes.vocab.text_size, sizes.vocab.eos)
  if (words.size, words.eos) != wanted:
    raise ValueError(
        f'{text}: text ids and end are {(words.size, words.eos)}, wanted '
        f'{wanted}'
    )
  images = load_tokenizer(tokenizer, mesh)
  _agree(tokenizer, (('tokenizer', images.config, sizes.tokenizer),))
  return bundle.Bundle(model, images, words, sizes.lengths, sizes.grid)


def _bundle(path, sizes):
  parts = bundle.load(path)
  if parts.model is None:
    raise ValueError(f'{path} holds a tokenizer but no model')
  if sizes:
    _agree(path, (
        ('vocab', parts.model.config.vocab, sizes.vocab),
        ('decoder', plain(parts.model.config.decoder), plain(sizes.decoder)),
        ('tokenizer', parts.tokenizer.config, sizes.tokenizer),
        ('grid', parts.grid, sizes.grid),
    ))
    config = dataclasses.replace(parts.model.config, decoder=sizes.decoder)
    parts = dataclasses.replace(parts, model=_computed(parts.model, config))
  return parts


def _computed(model, config):
  """Returns the same arrays in a model that computes as the config says."""
  abstract = nnx.eval_shape(lambda: showo.ShowO(config, rngs=nnx.Rngs(0)))
  return jax.tree.unflatten(
      jax.tree.structure(abstract), jax.tree.leaves(model)
  )


def load_model(path: str, config: showo.ShowOConfig, mesh) -> showo.ShowO:
  """Reads the transformer of a bundle or of a converted Show-o.

  Args:
    path: the folder.
    config: the sizes wanted, and how the model is computed.
    mesh: where a converted one is restored.

  Raises:
    ValueError: it is missing, damaged, or of other sizes.
  """
  if checkpoint.is_one(path):
    record = pretrained.read(path, 'showo')
    found = record.sizes
  else:
    model = bundle.load(path).model
    if model is None:
      raise ValueError(f'{path} holds a tokenizer but no model')
    found = model.config
  _agree(path, (
      ('vocab', found.vocab, config.vocab),
      ('decoder', plain(found.decoder), plain(config.decoder)),
      ('image_tokens', found.image_tokens, config.image_tokens),
      ('clip_width', found.clip_width, config.clip_width),
  ))
  if checkpoint.is_one(path):
    record = dataclasses.replace(record, sizes=config)
    return pretrained.restore(path, record, mesh)
  return _computed(model, config)


def load_tokenizer(path: str, mesh) -> magvit.Magvit:
  """Reads the image tokenizer of a bundle, or a converted MAGVIT-v2.

  Raises:
    ValueError: it is missing or damaged.
  """
  if not checkpoint.is_one(path):
    return bundle.load(path).tokenizer
  return pretrained.restore(path, pretrained.read(path, 'magvitv2'), mesh)


def sums(path: str, tokenizer: str) -> dict[str, str]:
  """Returns the SHA-256 of each file that `load` takes weights from.

  Of checkpoints, they are of the files that these were converted from.
  """
  if not checkpoint.is_one(path):
    return bundle.read_sizes(path)[1]
  found = {
      f'model/{name}': value
      for name, value in pretrained.read(path, 'showo').sha256.items()
  }
  if checkpoint.is_one(tokenizer):
    images = pretrained.read(tokenizer, 'magvitv2').sha256
  else:
    images = bundle.read_sizes(tokenizer)[1]
  return found | {f'tokenizer/{n}': value for n, value in images.items()}


def check_there(paths: list[str], missing: str) -> None:
  """Raises ValueError for the first path that is not there.

  Args:
    paths: what is wanted; '' is passed over.
    missing: the line that says how to get it.
  """
  for path in paths:
    if path and not storage.path(path).exists():
      raise ValueError(f'no checkpoint at {path}. {missing}'.strip())


def plain(decoder: phi.PhiConfig) -> phi.PhiConfig:
  """Returns the sizes without what says only how they are computed."""
  return phi.PhiConfig(**{
      field.name: getattr(decoder, field.name)
      for field in dataclasses.fields(decoder)
      if field.name not in pretrained.UNSAID
  })


def _agree(path, rows):
  for name, found, wanted in rows:
    if found != wanted:
      raise ValueError(f'{path}: {name} is {found}, wanted {wanted}')
