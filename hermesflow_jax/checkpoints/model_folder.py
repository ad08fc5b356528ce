"""Interface of model folders: sizes, parts, hashes."""

from __future__ import annotations

import abc
from collections.abc import Mapping
import dataclasses
from typing import ClassVar

from hermesflow_jax.runtime import lazy_modules

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import model_bundle
  from hermesflow_jax.models import magvit
  from hermesflow_jax.models import magvit_config
  from hermesflow_jax.models import phi_config
  from hermesflow_jax.models import showo
  from hermesflow_jax.models import showo_config
  from hermesflow_jax.sequences import text_tokenizer
  from hermesflow_jax.sequences import token_rows
  from hermesflow_jax.sequences import vocabulary


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Sizes that a job expects, and sizes that a converted model leaves open.

  Attributes:
    vocab: token ranges.
    decoder: transformer sizes, and how the job computes it.
    tokenizer: image tokenizer sizes.
    lengths: row lengths.
    grid: (h, w) in image tokens.
  """

  vocab: vocabulary.Vocab
  decoder: phi_config.PhiConfig
  tokenizer: magvit_config.MagvitConfig
  lengths: token_rows.Lengths
  grid: tuple[int, ...]

  @property
  def transformer(self) -> showo_config.ShowOConfig:
    """Transformer config, for `grid` image tokens."""
    height, width = self.grid
    return showo_config.ShowOConfig(self.vocab, self.decoder, height * width)


@dataclasses.dataclass(frozen=True)
class ModelFolder(abc.ABC):
  """A model folder; `initial_model` has a class for each form.

  Attributes:
    path: the folder.
    has_tokenizers: whether the folder also holds both tokenizers.
  """

  path: str
  has_tokenizers: ClassVar[bool]

  @abc.abstractmethod
  def config(self) -> showo_config.ShowOConfig:
    """Returns the transformer sizes; no weight is read.

    Raises:
      ValueError: the folder holds no transformer, or its record is damaged.
    """

  @abc.abstractmethod
  def load(
    self, sizes: Sizes | None, mesh, tokenizer: str = '', text: str = ''
  ) -> model_bundle.Bundle:
    """Reads all parts.

    Args:
      sizes: expected sizes; None takes the sizes of the folder. The number of
        image tokens may differ, as no weight depends on it.
      mesh: device mesh from `sharding.make_mesh`; checkpoints are restored
        straight onto it.
      tokenizer: folder of the image tokenizer. A model that has its own uses
        that; if `tokenizer` exists, both must be the same.
      text: folder or file of the text tokenizer, as `tokenizer`.

    Raises:
      ValueError: a part is missing, damaged, or has other sizes.
    """

  @abc.abstractmethod
  def load_text(
    self, sizes: Sizes | None, text: str = ''
  ) -> tuple[text_tokenizer.TextTokenizer, token_rows.Lengths, tuple[int, int]]:
    """Reads what decides which texts fit into a row; no weight is read.

    Args:
      sizes: see `load`.
      text: see `load`.

    Returns:
      (text tokenizer, row lengths, grid), as in the bundle from `load`.

    Raises:
      ValueError: a part is missing or damaged.
    """

  @abc.abstractmethod
  def load_transformer(
    self, config: showo_config.ShowOConfig, mesh
  ) -> showo.ShowO:
    """Reads the transformer.

    Args:
      config: the expected sizes, and how the transformer is computed.
      mesh: device mesh that a checkpoint is restored onto.

    Raises:
      ValueError: the transformer is missing, damaged, or has other sizes.
    """

  @abc.abstractmethod
  def load_tokenizer(self, mesh) -> magvit.Magvit:
    """Reads the image tokenizer.

    Args:
      mesh: device mesh that a checkpoint is restored onto.

    Raises:
      ValueError: the image tokenizer is missing or damaged.
    """

  @abc.abstractmethod
  def weight_hashes(self, tokenizer: str = '') -> Mapping[str, str]:
    """Returns the SHA-256 of all weights that `load` reads, by name.

    A trained model has a single hash, a bundle the hashes of its files, and a
    converted model the hashes of the files that it was converted from.

    Args:
      tokenizer: see `load`; read for a converted model.
    """

  @abc.abstractmethod
  def tokenizer_hashes(self) -> Mapping[str, str]:
    """Returns the image tokenizer's SHA-256 hashes, by name."""
