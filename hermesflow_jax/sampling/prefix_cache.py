"""Key-value caches of prefixes that several replies share."""

import jax
import jax.numpy as jnp

from hermesflow_jax.sequences import attention_mask


def prefill(model, rows, past=(), start: int = 0):
  """Computes the keys and values of a prefix.

  Args:
    model: a ShowO.
    rows: Rows [T], the tokens of the prefix.
    past: caches of earlier tokens without pads; every token attends to all of
      them.
    start: position of the first token of the whole row.

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


def read_tokens(model, image, prompt, length):
  """Computes the caches of an image and of a prompt about it.

  Args:
    model: a ShowO.
    image: Rows [E], the image, without pads.
    prompt: Rows [P], the prompt, right-padded.
    length: int32[], tokens of the prompt without pads.

  Returns:
    (hidden state [D] of the last token of the prompt, [image cache, prompt
    cache], [mask over the image, mask over the prompt] for later tokens).
  """
  _, before = prefill(model, image)
  hidden, after = prefill(model, prompt, [before])
  last = jax.lax.dynamic_index_in_dim(hidden, length - 1, keepdims=False)
  return (
    last,
    [before, after],
    [None, attention_mask.Interval(end=length[None])],
  )
