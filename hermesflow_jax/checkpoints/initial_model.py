"""The model that a job starts from.

`open` recognizes the three forms of a model folder:

  trained     a checkpoint with all parts (trained_model.py)
  bundle      safetensors files with all parts (model_bundle.py)
  converted   a checkpoint of one released network (converted_model.py): a
              Show-o or a MAGVIT-v2. The job's settings name the other parts.

All parts are the transformer, the image tokenizer, the text tokenizer, the row
lengths and the grid of image tokens.
"""

from __future__ import annotations

import abc
import dataclasses
import pathlib

import jax

from hermesflow_jax.checkpoints import bundle_text
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import model_folder
from hermesflow_jax.checkpoints import part_checks
from hermesflow_jax.checkpoints import run_folder
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import storage
from hermesflow_jax.sequences import text_tokenizer

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import converted_model
  from hermesflow_jax.models import abstract_modules
  from hermesflow_jax.models import showo

# Models that are shipped with the library.
ASSETS = pathlib.Path(__file__).parents[1] / 'assets'


def open(path: str | pathlib.PurePath) -> model_folder.ModelFolder:
  """Returns the model of a folder; its weights are not read yet.

  All processes call it.

  Args:
    path: folder of a model, or of a run, of which the newest model is taken.

  Raises:
    ValueError: the run has no model, or the checkpoint record is damaged.
    OSError: see `checkpoint.restore`.
  """
  path = str(run_folder.newest_model(path))
  if not checkpoint.is_checkpoint(path):
    return BundledModel(path)
  if trained_model.is_record(checkpoint.read_metadata(path)):
    return TrainedModel(path)
  return ConvertedModel(path)


class _AllParts(model_folder.ModelFolder):
  """A folder with all parts."""

  has_tokenizers = True

  @abc.abstractmethod
  def _read_parts(self, mesh) -> model_bundle.Bundle:
    """Reads the parts as the folder holds them."""

  def load(self, sizes, mesh, tokenizer='', text=''):
    """Reads all parts; see `ModelFolder`."""
    parts = self._read_parts(mesh)
    if sizes:
      parts = self._with_sizes(parts, sizes)
    if part_checks.exists(tokenizer):
      part_checks.check_image_tokenizer(
        self.path,
        parts.tokenizer,
        tokenizer,
        open(tokenizer).load_tokenizer(mesh),
      )
    if part_checks.exists(text):
      part_checks.check_text_tokenizer(
        self.path, parts.text, text, text_tokenizer.load(text)
      )
    return parts

  @abc.abstractmethod
  def _read_text(self):
    """Reads the text tokenizer, row lengths and grid of the folder."""

  def load_text(self, sizes, text=''):
    """Reads what decides which texts fit; see `ModelFolder`."""
    words, lengths, grid = self._read_text()
    if part_checks.exists(text):
      part_checks.check_text_tokenizer(
        self.path, words, text, text_tokenizer.load(text)
      )
    if sizes:
      lengths, grid = sizes.lengths, sizes.grid
    return words, lengths, grid

  def _with_sizes(self, parts, sizes):
    """Returns parts that are computed as `sizes` says."""
    _check_transformer(self.path, parts.model.config, sizes)
    part_checks.check_sizes(
      self.path, ('tokenizer', parts.tokenizer.config, sizes.tokenizer)
    )
    return dataclasses.replace(
      parts,
      model=_computed_as(parts.model, sizes.transformer),
      lengths=sizes.lengths,
      grid=sizes.grid,
    )

  def weight_hashes(self, tokenizer=''):
    """Returns the hashes for all weights; see `ModelFolder`."""
    return self.tokenizer_hashes()


class _Checkpoint(model_folder.ModelFolder):
  """A folder that `checkpoint.save` wrote."""

  def _record(self, kind):
    return converted_model.read_record(self.path, kind)

  def config(self):
    """Returns the transformer sizes; see `ModelFolder`."""
    return self._record('showo').sizes

  def load_transformer(self, config, mesh):
    """Reads the transformer; see `ModelFolder`."""
    own = self.config()
    _check_transformer(self.path, own, config)
    config = _with_features(config, own)
    record = dataclasses.replace(self._record('showo'), sizes=config)
    return converted_model.restore_model(self.path, record, mesh)

  def load_tokenizer(self, mesh):
    """Reads the image tokenizer; see `ModelFolder`."""
    return converted_model.restore_model(
      self.path, self._record('magvitv2'), mesh
    )

  def tokenizer_hashes(self):
    """Returns the image tokenizer's hashes; see `ModelFolder`."""
    return self._record('magvitv2').sha256


class TrainedModel(_AllParts, _Checkpoint):
  """A model that a training job wrote."""

  def _read_parts(self, mesh):
    return trained_model.load_parts(self.path, mesh)

  def _read_text(self):
    record = trained_model.read_record(self.path)
    text = trained_model.tokenizer_from_json(record.text)
    return text, record.sizes.lengths, record.sizes.grid


class BundledModel(_AllParts):
  """A bundle, e.g. the one that is shipped; arrays are read into numpy."""

  def config(self):
    """Returns the transformer sizes; see `ModelFolder`."""
    sizes, _ = self._sizes('showo')
    if sizes.vocab is None:
      raise ValueError(f'{self.path} holds a tokenizer but no model')
    return sizes.transformer

  def _sizes(self, kind):
    try:
      return model_bundle.read_sizes(self.path)
    except ValueError as error:
      if not part_checks.holds_pytorch(self.path):
        raise
      raise ValueError(
        f'{self.path} holds PyTorch weights; convert them with `python -m '
        f'conversions.convert {kind} {self.path} <new folder>` and give the '
        'new folder'
      ) from error

  def _read_parts(self, mesh):
    self.config()
    return model_bundle.load_bundle(self.path)

  def _read_text(self):
    self.config()
    return bundle_text.load_text(self.path)

  def load_transformer(self, config, mesh):
    """Reads the transformer; see `ModelFolder`."""
    model = self._read_parts(mesh).model
    _check_transformer(self.path, model.config, config)
    return _computed_as(model, config)

  def load_tokenizer(self, mesh):
    """Reads the image tokenizer; see `ModelFolder`."""
    self._sizes('magvitv2')
    return model_bundle.load_bundle(self.path).tokenizer

  def tokenizer_hashes(self):
    """Returns the image tokenizer's hashes; see `ModelFolder`."""
    return self._sizes('magvitv2')[1]


class ConvertedModel(_Checkpoint):
  """A released Show-o or MAGVIT-v2 that `conversions.convert` wrote."""

  has_tokenizers = False

  def _check_has_sizes(self, sizes):
    self.config()
    if sizes is None:
      raise ValueError(
        f'sizes must be given for {self.path}, a converted Show-o, got None; '
        'take a config that has them, e.g. the variant show_o_256'
      )

  def load(self, sizes, mesh, tokenizer='', text=''):
    """Reads all parts; see `ModelFolder`."""
    self._check_has_sizes(sizes)
    model = self.load_transformer(sizes.transformer, mesh)
    words, lengths, grid = self.load_text(sizes, text)
    images = open(tokenizer).load_tokenizer(mesh)
    part_checks.check_sizes(
      tokenizer, ('tokenizer', images.config, sizes.tokenizer)
    )
    return model_bundle.Bundle(model, images, words, lengths, grid)

  def load_text(self, sizes, text=''):
    """Reads what decides which texts fit; see `ModelFolder`."""
    self._check_has_sizes(sizes)
    words = text_tokenizer.load(text)
    part_checks.check_sizes(
      text,
      (
        'text ids and end',
        (words.size, words.eos),
        (sizes.vocab.text_size, sizes.vocab.eos),
      ),
    )
    return words, sizes.lengths, sizes.grid

  def weight_hashes(self, tokenizer=''):
    """Returns the hashes for all weights; see `ModelFolder`."""
    parts = {
      'model': self._record('showo').sha256,
      'tokenizer': open(tokenizer).tokenizer_hashes(),
    }
    return {
      f'{part}/{name}': value
      for part, hashes in parts.items()
      for name, value in hashes.items()
    }


def check_exists(paths: list[str], missing: str) -> None:
  """Raises ValueError for the first path that does not exist.

  Args:
    paths: folders or files; '' is passed over.
    missing: says how to get them.
  """
  for path in paths:
    if path and not storage.path(path).exists():
      advice = missing or (
        'Give the folder of a model or of a run, or assets:shapes'
      )
      raise ValueError(f'no checkpoint at {path}. {advice}')


def _computed_as(model, config):
  """Returns the same arrays in a model that computes as `config` says."""
  config = _with_features(config, model.config)
  abstract = abstract_modules.abstract_module(showo.ShowO, config)
  return jax.tree.unflatten(
    jax.tree.structure(abstract), jax.tree.leaves(model)
  )


def _with_features(config, own):
  """Returns a config that reads the CLIP features that the model reads.

  A job has no setting for what the model reads in place of codes.
  """
  return dataclasses.replace(config, clip_width=own.clip_width)


def _check_transformer(path, config, expected):
  part_checks.check_sizes(
    path,
    ('vocab', config.vocab, expected.vocab),
    ('decoder', config.decoder, expected.decoder),
  )
