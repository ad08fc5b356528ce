"""Show-o (arXiv 2408.12528): one vocabulary, one decoder, one head.

Text is predicted token by token, image codes by masked prediction; which of
the two happens is decided by the attention mask and the labels, not here.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

from flax import nnx
import jax

from hermesflow_jax.models import clip
from hermesflow_jax.models import linear_layers
from hermesflow_jax.models import phi
from hermesflow_jax.runtime import settings
from hermesflow_jax.sequences import vocabulary

Cache = phi.Cache


@dataclasses.dataclass(frozen=True)
class ShowOConfig:
  """Sizes of the model.

  Attributes:
    vocab: the vocabulary.
    decoder: the decoder.
    image_tokens: I, the codes of an image.
    clip_width: channels of the CLIP features that the model can read in place
      of codes; 0 for a model that reads codes alone.
  """

  vocab: vocabulary.Vocab
  decoder: phi.PhiConfig = phi.PhiConfig()
  image_tokens: settings.PositiveInt = 256
  clip_width: settings.NonNegativeInt = 0

  def __post_init__(self):
    settings.check(self)


class ShowO(nnx.Module):
  """Embedding, Phi decoder and an untied head with bias."""

  def __init__(self, config: ShowOConfig, *, rngs: nnx.Rngs):
    self.config = config
    size, width = config.vocab.size, config.decoder.width
    dtype = config.decoder.dtype
    self.embed = linear_layers.Embed(size, width, dtype=dtype, rngs=rngs)
    self.decoder = phi.Phi(config.decoder, rngs=rngs)
    self.head = linear_layers.Head(width, size, dtype=dtype, rngs=rngs)
    if config.clip_width:
      self.projector = clip.Projector(
        config.clip_width, width, dtype, rngs=rngs
      )

  def __call__(
    self,
    tokens,
    sees,
    positions,
    cache: Cache | None = None,
    past: Sequence[Cache] = (),
  ):
    """Returns the hidden states of tokens.

    Args:
      tokens: int32[..., T], vocabulary ids.
      sees: who sees whom, see `attention.attend`: of each of `past` in turn,
        then of `cache`, or of the T tokens without one. An array is
        bool[..., T, S], True where token t sees token s.
      positions: int32[..., T].
      cache: earlier tokens' keys and values, or None.
      past: full caches of tokens before those, which are only read.

    Returns:
      (hidden [..., T, D], the cache after these tokens or None).
    """
    x = self.embed(tokens)
    return self.from_embeddings(x, sees, positions, cache, past)

  def from_embeddings(
    self,
    x,
    sees,
    positions,
    cache: Cache | None = None,
    past: Sequence[Cache] = (),
  ):
    """Returns the hidden states of embeddings [..., T, D]; see `__call__`."""
    hidden, cache = self.decoder(x, sees, positions, cache, past)
    return hidden.astype(self.config.decoder.dtype), cache

  def embed_clip(self, tokens, features, start: int) -> jax.Array:
    """Returns the embeddings of rows with an image's CLIP features in them.

    Args:
      tokens: int32[..., T]; those under the features are not read.
      features: float[..., S, clip_width], see `clip.Clip`.
      start: the position of the first feature.

    Returns:
      [..., T, D].
    """
    x = self.embed(tokens)
    projected = self.projector(features).astype(x.dtype)
    return jax.lax.dynamic_update_slice_in_dim(x, projected, start, axis=-2)

  def logits(self, hidden: jax.Array) -> jax.Array:
    """Returns float32[..., V] over the whole vocabulary."""
    return self.head(hidden)

  def code_head(self) -> Callable[[jax.Array], jax.Array]:
    """Returns the head of the image codes alone.

    It maps [..., D] to float32[..., codebook_size]. Get it before a loop: what
    is cut out of the head here would else be copied at each turn.
    """
    v = self.config.vocab
    return self._part_of_head(
      slice(v.image_offset, v.image_offset + v.codebook_size)
    )

  def text_head(self) -> Callable[[jax.Array], jax.Array]:
    """Returns the head of the text ids alone: to float32[..., text_size]."""
    return self._part_of_head(slice(0, self.config.vocab.text_size))

  def _part_of_head(self, ids: slice):
    dtype = self.config.decoder.dtype
    kernel = self.head.kernel[:, ids].astype(dtype)
    bias = self.head.bias[ids]

    def logits(hidden):
      return linear_layers.logits(hidden.astype(dtype), kernel, bias)

    return logits

  def empty_cache(self, batch: tuple[int, ...], size: int) -> Cache:
    """Returns a cache with room for `size` tokens a row."""
    return Cache.empty(self.config.decoder, batch, size)
