"""The shared prefix of several replies: read once, kept in a cache."""

import jax
import jax.numpy as jnp

from hermesflow_jax.sequences import attention_mask

NEG = jnp.finfo(jnp.float32).min


def prefill(model, rows, past=(), start: int = 0):
  """Computes the keys and values of a prefix.

  Args:
    model: a ShowO.
    rows: Rows [T], see `attention_mask.mask_matrix`.
    past: caches of what stands before, without pads; every row sees it all.
    start: the position of the first token of all.

  Returns:
    (hidden [T, D], its cache, full).
  """
  size, before = rows.tokens.shape[-1], sum(cache.size for cache in past)
  sees = [None] * len(past) + [
    attention_mask.key_intervals(rows.ar, rows.valid)
  ]
  return model(
    rows.tokens,
    sees,
    start + before + jnp.arange(size),
    model.empty_cache((), size),
    past,
  )


def read_tokens(model, image, prompt, length):
  """Reads an image and a prompt.

  Returns:
    (hidden [D] of the prompt's last token, the caches of both, what a reply
    sees of each).
  """
  _, before = prefill(model, image)
  hidden, after = prefill(model, prompt, [before])
  last = jax.lax.dynamic_index_in_dim(hidden, length - 1, keepdims=False)
  return (
    last,
    [before, after],
    [None, attention_mask.Interval(end=length[None])],
  )
