"""A new, untrained model whose words are those of its data."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import typing

import jax

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import model_bundle
  from hermesflow_jax.models import magvit
  from hermesflow_jax.models import phi_config
  from hermesflow_jax.models import showo
  from hermesflow_jax.sequences import text_tokenizer
  from hermesflow_jax.sequences import token_rows
  from hermesflow_jax.sequences import vocabulary


@dataclasses.dataclass(frozen=True)
class NewModel:
  """Sizes of a new model.

  Attributes:
    decoder: transformer sizes.
    lengths: row lengths.
    pixels: side of an image; a multiple of what the image tokenizer reduces a
      side by.
  """

  decoder: phi_config.PhiConfig
  lengths: token_rows.Lengths
  pixels: typing.Annotated[int, settings.at_least(1)]

  def __post_init__(self):
    settings.check(self)


def make_text(texts: Iterable[str]) -> text_tokenizer.TextTokenizer:
  """Returns a text tokenizer with an id for each word of the texts.

  Args:
    texts: all texts of the data, and the prompts.
  """
  splitter = text_tokenizer.word_level_tokenizer(())
  words = set()
  for text in texts:
    words.update(splitter.unknown_words([text]))
  return text_tokenizer.word_level_tokenizer(words)


def check_pixels(config: NewModel, tokenizer: magvit.Magvit) -> None:
  """Raises ValueError if a tokenizer cannot encode images of `config.pixels`.

  Args:
    config: sizes.
    tokenizer: image tokenizer.
  """
  if config.pixels % tokenizer.reduction:
    raise ValueError(
      f'new_model.pixels must be a multiple of {tokenizer.reduction}, got '
      f'{config.pixels}'
    )


def make_bundle(
  config: NewModel,
  tokenizer: magvit.Magvit,
  text: text_tokenizer.TextTokenizer,
  seed: int,
) -> model_bundle.Bundle:
  """Returns a random model.

  Args:
    config: sizes.
    tokenizer: image tokenizer.
    text: text tokenizer.
    seed: random seed of the weights.

  Raises:
    ValueError: see `check_pixels`.
  """
  from flax import nnx

  check_pixels(config, tokenizer)
  grid = (config.pixels // tokenizer.reduction,) * 2
  vocab = vocabulary.Vocab(text.size, tokenizer.config.codebook_size, text.eos)
  sizes = showo.ShowOConfig(vocab, config.decoder, grid[0] * grid[1])
  model = showo.ShowO(sizes, rngs=nnx.Rngs(jax.random.key(seed)))
  return model_bundle.Bundle(model, tokenizer, text, config.lengths, grid)
