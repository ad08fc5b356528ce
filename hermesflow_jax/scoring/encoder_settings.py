"""Settings of text encoders: their folders, and how to get them."""

import dataclasses
import typing

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import text_encoder_folder
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings

# name: (KIND, SRC) of the command that converts the default encoder.
SOURCES = {
  'bert': ('bert', 'google-bert/bert-large-uncased'),
  'sentence': ('mpnet', 'sentence-transformers/all-mpnet-base-v2'),
}


@dataclasses.dataclass(frozen=True)
class EncoderSettings:
  """Text encoders that `conversions.convert bert` or `mpnet` wrote.

  A folder is read only if a scorer or a matcher in use needs it. The same
  weights may lie in another folder when a run resumes.

  Attributes:
    bert: encoder of the scorer `bert`; the paper's is bert-large-uncased.
    sentence: encoder of `sentence`, of captions and of answers; the paper's is
      all-mpnet-base-v2.
    dtype: dtype of matrix products.
  """

  bert: str = settings.path_of_content(
    'bert_encoder', default='checkpoints/bert-large-uncased'
  )
  sentence: str = settings.path_of_content(
    'sentence_encoder', default='checkpoints/all-mpnet-base-v2'
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
    """Raises ValueError if an encoder is missing or no text encoder.

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
      raise ValueError(
        f'encoders.{name} must be a text encoder, got {path!r}, {fault}; run '
        f'`python -m conversions.convert {kind} {source} '
        f'{path or "<folder>"}` (docs/scorers.md), or {advice}'
      )
    text_encoder_folder.read_record(path)


def _fault(path) -> str:
  """Returns why no encoder can be at a path; '' without a fault."""
  if not path:
    return 'no folder'
  if not checkpoint.exists(path):
    return 'which does not exist'
  return '' if checkpoint.is_checkpoint(path) else 'which is not converted'
