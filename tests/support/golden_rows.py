"""Keys and whole rows for tests of samplers on the golden Show-o."""

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.sequences import attention_mask

# Codes of an image.
CODES = 16


def keys(count):
  return jax.random.split(jax.random.key(7), count)


@jax.jit
def row_logits(model, tokens):
  """Logits of a whole mmu row without pads."""
  index = jnp.arange(tokens.size)
  joins = (index >= 2) & (index <= 2 + CODES)
  opens = jnp.where(joins, 0, 1).at[1].set(0)
  mask = attention_mask.mask_matrix(opens, jnp.ones(tokens.size, bool))
  hidden, _ = model(tokens, mask, index)
  return model.logits(hidden)


def row_of(prompt, n):
  """The tokens of row n with room for 12 more, and where these begin."""
  image, rows, lengths = jax.tree.map(lambda a: a[n], prompt)
  tokens = np.concatenate([image.tokens, rows.tokens[:lengths]])
  return np.pad(tokens, (0, 12)), len(tokens)
