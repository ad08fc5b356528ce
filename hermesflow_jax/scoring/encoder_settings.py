"""Settings of text encoders: their folders, and how to get them."""

from __future__ import annotations

import dataclasses
import typing

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings

with lazy_modules.on_first_use():
  from hermesflow_jax.checkpoints import checkpoint
  from hermesflow_jax.checkpoints import clip_folder
  from hermesflow_jax.checkpoints import text_encoder_folder

# name: (KIND, SRC) of the command that converts the default encoder.
SOURCES = {
  'bert': ('bert', 'google-bert/bert-large-uncased'),
  'sentence': ('mpnet', 'sentence-transformers/all-mpnet-base-v2'),
  'clip': ('clip', 'openai/clip-vit-large-patch14'),
}
_UNCONVERTED = 'which is not converted'


@dataclasses.dataclass(frozen=True)
class EncoderSettings:
  """Encoders that `conversions.convert bert`, `mpnet` or `clip` wrote.

  A folder is read only if a scorer or a matcher in use needs it. The same
  weights may lie in another folder when a run resumes.

  Attributes:
    bert: encoder of the scorer `bert`; the paper's is bert-large-uncased.
    sentence: encoder of `sentence`, of captions and of answers; the paper's is
      all-mpnet-base-v2.
    clip: CLIP of the scorers `clip`, of captions and of images.
    dtype: dtype of matrix products.
  """

  bert: str = settings.path_of_content(
    'bert_encoder', default='checkpoints/bert-large-uncased'
  )
  sentence: str = settings.path_of_content(
    'sentence_encoder', default='checkpoints/all-mpnet-base-v2'
  )
  clip: str = settings.path_of_content(
    'clip_encoder', default='checkpoints/clip-vit-large-patch14'
  )
  dtype: typing.Annotated[str, settings.one_of('float32', 'bfloat16')] = (
    'float32'
  )

  def __post_init__(self):
    settings.check(self)

  def path(self, name: str) -> str:
    """Returns the folder of an encoder.

    Args:
      name: key in SOURCES.
    """
    return getattr(self, name)

  def check(self, name: str, advice: str) -> None:
    """Raises ValueError if an encoder is missing, or is another model.

    All processes call it.

    Args:
      name: key in SOURCES.
      advice: another way to continue, for the error.

    Raises:
      ValueError: the one-line message has the command that converts it.
    """
    path = self.path(name)
    fault = processes.broadcast_from_first(lambda: _fault(path))
    if fault:
      kind, source = SOURCES[name]
      model = 'a CLIP' if kind == clip_folder.KIND else 'a text encoder'
      # A folder of PyTorch's files is a source, and must not be written to.
      command = (
        f'{kind} {path} <folder>` and give that folder'
        if fault == _UNCONVERTED
        else f'{kind} {source} {path or "<folder>"}`'
      )
      raise ValueError(
        f'encoders.{name} must be {model}, got {path!r}, {fault}; run '
        f'`python -m conversions.convert {command} (docs/scorers.md), or '
        f'{advice}'
      )
    _folder(name).read_record(path)

  def content_hash(self, name: str) -> str:
    """Returns the hash of the arrays and the tokenizer of an encoder.

    Args:
      name: key in SOURCES.
    """
    return _folder(name).content_hash(self.path(name))


def _folder(name):
  """Returns the module that reads the folder of an encoder."""
  kind, _ = SOURCES[name]
  return clip_folder if kind == clip_folder.KIND else text_encoder_folder


def _fault(path) -> str:
  """Returns why no encoder can be at a path; '' without a fault."""
  if not path:
    return 'no folder'
  if not checkpoint.exists(path):
    return 'which does not exist'
  return '' if checkpoint.is_checkpoint(path) else _UNCONVERTED
