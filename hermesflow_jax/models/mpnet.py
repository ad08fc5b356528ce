"""MPNet (arXiv 2004.09297), a text encoder with relative position bias.

HermesFlow's script maps free answers to choices by all-mpnet-base-v2.
"""

import dataclasses
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import linear_layers
from hermesflow_jax.models import text_encoder_layers
from hermesflow_jax.runtime import settings

# The PyTorch code has constants here, whatever a config says.
BUCKETS = 32  # Rows of the table of relative positions.
MAX_DISTANCE = 128  # All tokens further away share a bucket.
PAD = 1  # Token id of pads, and their position; a first token has 2.


@dataclasses.dataclass(frozen=True)
class MPNetConfig(text_encoder_layers.EncoderConfig):
  """Sizes; the defaults are all-mpnet-base-v2."""

  vocab: settings.PositiveInt = 30_527
  width: settings.PositiveInt = 768
  layers: settings.PositiveInt = 12
  heads: settings.PositiveInt = 12
  mlp: settings.PositiveInt = 3072
  positions: settings.PositiveInt = 514
  norm_eps: settings.PositiveFloat = 1e-5

  def __post_init__(self):
    super().__post_init__()
    if self.positions <= PAD + 1:
      raise ValueError(
        f'positions must be more than {PAD + 1}, got {self.positions}'
      )

  @property
  def longest(self) -> int:
    """Most tokens in a row."""
    return self.positions - PAD - 1


class MPNet(text_encoder_layers.Encoder):
  """Encoder with learned positions and a bias per distance and head."""

  def __init__(self, config: MPNetConfig, *, rngs: nnx.Rngs):
    super().__init__(config, rngs=rngs)
    self.relative_bias = linear_layers.Embed(
      BUCKETS, config.heads, dtype=jnp.float32, rngs=rngs
    )

  def embeddings(self, tokens: jax.Array) -> jax.Array:
    """Embeds token ids; see `Encoder.embeddings`."""
    is_token = (tokens != PAD).astype(jnp.int32)
    places = jnp.cumsum(is_token, axis=-1) * is_token + PAD
    return self.embed(tokens) + self.position_embedding(places)

  def attention_bias(self, length: int) -> jax.Array:
    """Returns the bias of attention scores by distance: float32[N, T, T]."""
    places = np.arange(length)
    buckets = distance_buckets(places[None] - places[:, None])
    return jnp.transpose(self.relative_bias(jnp.asarray(buckets)), (2, 0, 1))


def distance_buckets(distances: np.ndarray) -> np.ndarray:
  """Maps distances between tokens to rows of the bias table.

  Half of the buckets belong to keys after the query. Half of each half are
  single distances, the others grow to MAX_DISTANCE by equal ratios, as in T5
  (arXiv 1910.10683).

  Args:
    distances: int[...], place of the key minus place of the query.

  Returns:
    int32[...], 0 to BUCKETS - 1.

  >>> distance_buckets(np.array([0, -3, 3, 20, 500])).tolist()
  [0, 3, 19, 26, 31]
  """
  half = BUCKETS // 2
  single = half // 2
  size = np.abs(distances)
  # float32, as in the PyTorch code: another rounding moves a border.
  ratio = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(single))
  scale = np.float32(math.log(MAX_DISTANCE / single))
  grown = single + (ratio / scale * (half - single)).astype(np.int32)
  row = np.where(size < single, size, np.minimum(grown, half - 1))
  return (row + half * (distances > 0)).astype(np.int32)
