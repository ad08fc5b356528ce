"""BERT (arXiv 1810.04805), a text encoder; also the model of MiniLM.

HermesFlow scores captions by the cosine of the [CLS] states of
bert-large-uncased. all-MiniLM-L6-v2 is a BERT of other sizes.
"""

import dataclasses

from flax import nnx
import jax

from hermesflow_jax.models import text_encoder_layers
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class BertConfig(text_encoder_layers.EncoderConfig):
  """Sizes; the defaults are bert-large-uncased.

  Attributes:
    token_types: rows of the table of token types. Texts have type 0.
  """

  vocab: settings.PositiveInt = 30_522
  width: settings.PositiveInt = 1024
  layers: settings.PositiveInt = 24
  heads: settings.PositiveInt = 16
  mlp: settings.PositiveInt = 4096
  positions: settings.PositiveInt = 512
  norm_eps: settings.PositiveFloat = 1e-12
  token_types: settings.PositiveInt = 2


class Bert(text_encoder_layers.Encoder):
  """Encoder with learned positions and token types."""

  def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
    super().__init__(config, rngs=rngs)
    self.type_embedding = text_encoder_layers.table(
      config, config.token_types, rngs
    )

  def embeddings(self, tokens: jax.Array) -> jax.Array:
    """Embeds token ids of type 0; see `Encoder.embeddings`."""
    places = self.position_embedding.embedding[...][: tokens.shape[-1]]
    # The order of the sums is PyTorch's.
    return self.embed(tokens) + self.type_embedding.embedding[...][0] + places
