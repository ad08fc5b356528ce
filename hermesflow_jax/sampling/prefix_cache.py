"""Key-value caches for prefixes that several replies share."""

import jax
import jax.numpy as jnp

from hermesflow_jax.models import clip_pixels
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import clip_rows


def prefill(model, rows, past=(), start: int = 0):
  """Computes the keys and values of a prefix.

  Args:
    model: a ShowO.
    rows: Rows [T], the tokens of the prefix.
    past: caches of earlier tokens, without pads; all rows attend to them.
    start: position of the first token in the whole row.

  Returns:
    (hidden states [T, D], full cache of the T tokens).
  """
  size, before = rows.tokens.shape[-1], sum(cache.size for cache in past)
  mask = [None] * len(past) + [
    attention_mask.key_intervals(rows.ar, rows.valid)
  ]
  return model(
    rows.tokens,
    mask,
    start + before + jnp.arange(size),
    model.empty_cache((), size),
    past,
  )


def prefill_clip(model, image: clip_rows.ClipImage):
  """Computes the keys and values of an image that CLIP features represent.

  Args:
    model: a ShowO with an attribute `vision`, its `clip.Clip`.
    image: an image without leading axes.

  Returns:
    (hidden states [E, D], full cache of the E tokens).
  """
  size = image.tokens.shape[-1]
  features = clip_pixels.read_features(model.vision, image.pixels)
  index, ones = jnp.arange(size), jnp.ones(size, jnp.int32)
  is_feature = (index >= image.start) & (index < size - 1)
  mask = attention_mask.mask_matrix_with_features(
    ones, ones.astype(bool), is_feature
  )
  embedded = model.embed_clip(image.tokens, features, image.start)
  return model.from_embeddings(
    embedded, mask, index, model.empty_cache((), size)
  )


def read_tokens(model, image, prompt, length):
  """Computes key-value caches for an image and a prompt about it.

  Args:
    model: a ShowO.
    image: Rows [E], the image, without pads; or a ClipImage.
    prompt: Rows [P], the prompt, right-padded.
    length: int32[], prompt length without pads.

  Returns:
    (hidden state [D] at the prompt's last token, [image cache, prompt cache],
    [image mask, prompt mask] for later tokens).
  """
  is_clip = isinstance(image, clip_rows.ClipImage)
  _, before = (prefill_clip if is_clip else prefill)(model, image)
  hidden, after = prefill(model, prompt, [before])
  last = jax.lax.dynamic_index_in_dim(hidden, length - 1, keepdims=False)
  return (
    last,
    [before, after],
    [None, attention_mask.Interval(end=length[None])],
  )
