"""Show-o (arXiv 2408.12528): a transformer for text and image tokens.

Text and image codes share a vocabulary, the decoder and the output head. The
attention mask and the labels decide whether tokens are predicted
autoregressively (text) or by masked prediction (image codes).
"""

from collections.abc import Callable
from collections.abc import Sequence

from flax import nnx
import jax

from hermesflow_jax.models import clip
from hermesflow_jax.models import linear_layers
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo_config
from hermesflow_jax.sequences import attention_mask

Cache = phi.Cache
# Its name for programs that build a model.
ShowOConfig = showo_config.ShowOConfig


class ShowO(nnx.Module):
  """Token embedding, Phi decoder and an untied output head with bias."""

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
    mask: attention_mask.Mask | Sequence[attention_mask.Mask],
    positions,
    cache: Cache | None = None,
    past: Sequence[Cache] = (),
  ):
    """Computes hidden states for tokens.

    Args:
      tokens: int32[..., T], vocabulary ids.
      mask: attention mask, see `phi.Phi.__call__`.
      positions: int32[..., T], for the rotary embedding.
      cache: earlier keys and values, or None.
      past: full caches before `cache`, read-only.

    Returns:
      (hidden states [..., T, D], the cache after these T tokens or None).
    """
    x = self.embed(tokens)
    return self.from_embeddings(x, mask, positions, cache, past)

  def from_embeddings(
    self,
    x,
    mask: attention_mask.Mask | Sequence[attention_mask.Mask],
    positions,
    cache: Cache | None = None,
    past: Sequence[Cache] = (),
  ):
    """Computes hidden states from embeddings [..., T, D]; see `__call__`."""
    hidden, cache = self.decoder(x, mask, positions, cache, past)
    return hidden.astype(self.config.decoder.dtype), cache

  def embed_clip(self, tokens, features, start: int) -> jax.Array:
    """Embeds rows in which CLIP features replace some tokens.

    Args:
      tokens: int32[..., T]; ids at the positions of features are ignored.
      features: float[..., S, clip_width], output of `clip.Clip`.
      start: first feature position.

    Returns:
      [..., T, D], embeddings.
    """
    x = self.embed(tokens)
    projected = self.projector(features).astype(x.dtype)
    return jax.lax.dynamic_update_slice_in_dim(x, projected, start, axis=-2)

  def logits(self, hidden: jax.Array) -> jax.Array:
    """Maps hidden states [..., D] to logits float32[..., V]."""
    return self.head(hidden)

  def code_head(self) -> Callable[[jax.Array], jax.Array]:
    """Returns the output head restricted to image codes.

    It maps [..., D] to float32[..., codebook_size]. Call this before a loop:
    inside a loop, each iteration would copy the slice of the weights.
    """
    v = self.config.vocab
    return self._part_of_head(
      slice(v.image_offset, v.image_offset + v.codebook_size)
    )

  def text_head(self) -> Callable[[jax.Array], jax.Array]:
    """Returns the head restricted to text, to float32[..., text_size]."""
    return self._part_of_head(slice(0, self.config.vocab.text_size))

  def _part_of_head(self, ids: slice):
    dtype = self.config.decoder.dtype
    kernel = self.head.kernel[:, ids].astype(dtype)
    bias = self.head.bias[ids]

    def logits(hidden):
      return linear_layers.logits(hidden.astype(dtype), kernel, bias)

    return logits

  def empty_cache(self, batch: tuple[int, ...], size: int) -> Cache:
    """Returns an empty cache with capacity for `size` tokens per row."""
    return Cache.empty(self.config.decoder, batch, size)
