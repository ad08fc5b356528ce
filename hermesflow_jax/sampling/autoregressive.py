"""Sampling of text, token by token."""

import jax
import jax.numpy as jnp

from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sequences import attention_mask

# Tokens of a reply between two looks at whether all replies have ended.
STRETCH = 16


def pick_token(key, logits, temperature, top_k, most: int):
  """Draws one token among the `top_k` likeliest at a temperature.

  Args:
    key: a random key.
    logits: float32[V]; of equal ones the first counts.
    temperature: float32[] > 0.
    top_k: int32[], 1 to `most`; 1 is greedy.
    most: the largest `top_k` of all, at most V; the noise is of this size, so
      it decides the draw, too.

  Returns:
    int32[], the token.
  """
  best, tokens = jax.lax.top_k(logits, most)
  scaled = jnp.where(
    jnp.arange(most) < top_k, best / temperature, prefix_cache.NEG
  )
  return tokens[jax.random.categorical(key, scaled)].astype(jnp.int32)


def sample_text(
  model,
  key,
  image,
  prompt,
  length,
  *,
  max_new: int,
  temperature,
  top_k,
  most: int,
  stop: int,
  allowed=None,
  stretch: int = STRETCH,
):
  """Replies to one prompt about an image, token by token.

  Args:
    model: a ShowO.
    key: the random key of this reply.
    image: Rows [E], prompt: Rows [P], right-padded, length: int32[], its
      tokens that are not pads; all of `image_to_text.mmu_parts`.
    max_new: tokens to generate at most.
    temperature, top_k, most: see `pick_token`; `most` may exceed V.
    stop: the id that ends a reply; it and what follows are `stop`. -1: none.
    allowed: bool[V], the ids a reply may have; None: text, and only its
      logits are computed. `stop` is a text id.
    stretch: tokens between two looks at whether all replies have ended. A
      look at each would keep an accelerator waiting for its host.

  Returns:
    int32[max_new].
  """
  if allowed is None:
    logits_of = model.text_head()
  else:

    def logits_of(hidden):
      return jnp.where(allowed, model.logits(hidden), prefix_cache.NEG)

  last, past, seen = prefix_cache.read_tokens(model, image, prompt, length)
  stretch = min(stretch, max_new)
  room = -(-max_new // stretch) * stretch
  slots, begin = jnp.arange(room), image.tokens.shape[0] + length
  keys = jax.random.split(key, max_new)[jnp.minimum(slots, max_new - 1)]

  # Under `jax.vmap` each reply has a `start` of its own, and a write to a place
  # of its own is a slow scatter. So a stretch writes into a cache that is its
  # own, at places that all share, and is moved at its end.
  def some(state):
    start, (hidden, before, done), tokens = state

    def step(carry, inputs):
      hidden, cache, done = carry
      i, key = inputs
      logits = logits_of(hidden)
      most_here = min(most, logits.shape[-1])
      token = pick_token(key, logits, temperature, top_k, most_here)
      token = jnp.where(done, stop, token)
      done = done | (token == stop)
      sees = [*seen, *written, attention_mask.Interval(end=(i + 1)[None])]
      hidden, cache = model(
        token[None], sees, (begin + start + i)[None], cache, earlier
      )
      return (hidden[0], cache, done), token

    earlier, written = past, []
    if room > stretch:
      earlier = [*past, before]
      written = [attention_mask.Interval(end=start[None])]
    cache = model.empty_cache((), stretch)
    (hidden, cache, done), new = jax.lax.scan(
      step,
      (hidden, cache, done),
      (jnp.arange(stretch), jax.lax.dynamic_slice_in_dim(keys, start, stretch)),
    )
    if room > stretch:
      before = before.put(cache, start)
    tokens = jax.lax.dynamic_update_slice(tokens, new, (start,))
    return start + stretch, (hidden, before, done), tokens

  def goes_on(state):
    start, (_, _, done), _ = state
    return (start < room) & ~done

  # One stretch alone has nothing before it.
  before = model.empty_cache((), room if room > stretch else 0)
  carry = last, before, jnp.zeros((), bool)
  tokens = jnp.full(room, stop, jnp.int32)
  *_, tokens = jax.lax.while_loop(goes_on, some, (0, carry, tokens))
  return tokens[:max_new]
