"""Sizes of a Show-o; imports no flax."""

import dataclasses

from hermesflow_jax.models import phi_config
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import vocabulary


@dataclasses.dataclass(frozen=True)
class ShowOConfig:
  """Model sizes.

  Attributes:
    vocab: token ids.
    decoder: decoder sizes.
    image_tokens: I, codes per image.
    clip_width: channels of the CLIP features that the model can read in place
      of codes; 0 for a model that only reads codes.
  """

  vocab: vocabulary.Vocab
  decoder: phi_config.PhiConfig = phi_config.PhiConfig()
  image_tokens: settings.PositiveInt = 256
  clip_width: settings.NonNegativeInt = 0

  def __post_init__(self):
    settings.check(self)
