"""Show-o (arXiv 2408.12528): one vocabulary, one decoder, one head.

Text is predicted token by token, image codes by masked prediction; which of
the two happens is decided by the attention mask and the labels, not here.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp

from hermesflow_jax import vocab as vocab_lib
from hermesflow_jax.models import phi

Cache = phi.Cache


@dataclasses.dataclass(frozen=True)
class ShowOConfig:
  """The vocabulary, the decoder, and I, the codes of an image."""

  vocab: vocab_lib.Vocab
  decoder: phi.PhiConfig = phi.PhiConfig()
  image_tokens: int = 256


class ShowO(nnx.Module):
  """Embedding, Phi decoder and an untied head with bias."""

  def __init__(self, config: ShowOConfig, *, rngs: nnx.Rngs):
    self.config = config
    size, width = config.vocab.size, config.decoder.width
    dtype = config.decoder.dtype
    self.embed = nnx.Embed(size, width, dtype=dtype, rngs=rngs)
    self.decoder = phi.Phi(config.decoder, rngs=rngs)
    self.head = nnx.Linear(width, size, dtype=dtype, rngs=rngs)

  def __call__(self, tokens, mask, positions, cache: Cache | None = None):
    """Returns the hidden states of tokens.

    Args:
      tokens: int32[..., T], vocabulary ids.
      mask: bool[..., T, S], True where token t sees token s; S is T, or the
        size of the cache.
      positions: int32[..., T].
      cache: earlier tokens' keys and values, or None.

    Returns:
      (hidden [..., T, D], the cache after these tokens or None).
    """
    return self.decoder(self.embed(tokens), mask, positions, cache)

  def logits(self, hidden: jax.Array) -> jax.Array:
    """Returns float32[..., V] over the whole vocabulary."""
    return self.head(hidden).astype(jnp.float32)

  def code_logits(self, hidden: jax.Array) -> jax.Array:
    """Returns float32[..., codebook_size]: logits of the image codes alone."""
    v = self.config.vocab
    return self._some_logits(
        hidden, slice(v.image_offset, v.image_offset + v.codebook_size)
    )

  def text_logits(self, hidden: jax.Array) -> jax.Array:
    """Returns float32[..., text_size]: logits of the text ids alone."""
    return self._some_logits(hidden, slice(0, self.config.vocab.text_size))

  def _some_logits(self, hidden, ids: slice):
    dtype = self.config.decoder.dtype
    logits = hidden.astype(dtype) @ self.head.kernel[:, ids].astype(dtype)
    return (logits + self.head.bias[ids].astype(dtype)).astype(jnp.float32)

  def empty_cache(self, batch: tuple[int, ...], size: int) -> Cache:
    """Returns a cache with room for `size` tokens a row."""
    return Cache.empty(self.config.decoder, batch, size)
