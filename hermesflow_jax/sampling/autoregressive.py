"""Autoregressive sampling of text: replies about an image, token by token."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from hermesflow_jax.sampling import prefix_cache
from hermesflow_jax.sequences import attention_mask

# Tokens between two checks whether all replies have ended.
STRETCH = 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenState:
  """State after a generated token.

  Attributes:
    hidden: [D], hidden state of the token, which predicts the next token.
    cache: phi.Cache of generated tokens.
    ended: bool[], whether the reply has ended.
  """

  hidden: jax.Array
  cache: Any
  ended: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReplyState:
  """Loop state of `sample_text` between two stretches.

  Attributes:
    start: int32[], number of generated tokens: the slot of the next token.
    last: state after the last token; its cache holds all earlier stretches.
    tokens: int32[S], generated tokens; slots from `start` on hold `stop`.
  """

  start: jax.Array
  last: TokenState
  tokens: jax.Array


def pick_token(key, logits, temperature, top_k, most: int):
  """Samples a token among the `top_k` likeliest at a temperature.

  Args:
    key: random key.
    logits: float32[V]; among equal logits the first ranks highest.
    temperature: float32[], above 0.
    top_k: int32[], 1 to `most`; 1 is greedy.
    most: upper bound of `top_k`, at most V. The noise has this size, so the
      sampled token depends on it.

  Returns:
    int32[], token id.
  """
  best, tokens = jax.lax.top_k(logits, most)
  scaled = jnp.where(
    jnp.arange(most) < top_k, best / temperature, attention_mask.LOWEST
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
  """Samples a reply to a prompt about an image.

  The arguments `image`, `prompt` and `length` come from
  `image_to_text.mmu_parts`. Callers map over them with `jax.vmap`.

  Args:
    model: a ShowO.
    key: random key for this reply.
    image: Rows [E], the image.
    prompt: Rows [P], the prompt, right-padded.
    length: int32[], prompt length without pads.
    max_new: limit on generated tokens.
    temperature: float32[], see `pick_token`.
    top_k: int32[], see `pick_token`.
    most: see `pick_token`; values above V act as V.
    stop: id of the token that ends a reply, or -1. It fills all later slots.
    allowed: bool[V], ids that can be generated. None allows all text ids, and
      then only their logits are computed; `stop` must be a text id.
    stretch: number of tokens between two checks whether all replies have
      ended. A check after every token would stall an accelerator, which waits
      for its host.

  Returns:
    int32[max_new], token ids.
  """
  prefix, state = begin_reply(
    model, image, prompt, length, max_new=max_new, stop=stop, stretch=stretch
  )
  sample_stretch = _stretch_sampler(
    model,
    key,
    prefix,
    image.tokens.shape[0] + length,
    max_new=max_new,
    temperature=temperature,
    top_k=top_k,
    most=most,
    stop=stop,
    allowed=allowed,
    stretch=stretch,
  )
  capacity = state.tokens.shape[0]

  def goes_on(state: ReplyState):
    return (state.start < capacity) & ~state.last.ended

  state = _mapped_like(key, state)
  end = jax.lax.while_loop(goes_on, sample_stretch, state)
  return end.tokens[:max_new]


def begin_reply(model, image, prompt, length, *, max_new, stop, stretch):
  """Reads an image and a prompt; see `sample_text` for the arguments.

  Returns:
    (prefix: caches and masks of image and prompt, ReplyState before the first
    token).
  """
  hidden, *prefix = prefix_cache.read_tokens(model, image, prompt, length)
  stretch = min(stretch, max_new)
  capacity = -(-max_new // stretch) * stretch
  # A single stretch has no earlier tokens to keep.
  cache = model.empty_cache((), capacity if capacity > stretch else 0)
  last = TokenState(hidden, cache, jnp.zeros((), bool))
  tokens = jnp.full(capacity, stop, jnp.int32)
  return prefix, ReplyState(jnp.int32(0), last, tokens)


def continue_reply(model, key, prefix, position, state: ReplyState, **options):
  """Samples the next stretch of a reply.

  Args:
    model: a ShowO.
    key: random key for this reply, the same for all stretches.
    prefix: from `begin_reply`.
    position: int32[], position of the first token of the reply.
    state: ReplyState before the stretch.
    **options: see `sample_text`.

  Returns:
    ReplyState after the stretch.
  """
  return _stretch_sampler(model, key, prefix, position, **options)(state)


def _stretch_sampler(
  model,
  key,
  prefix,
  position,
  *,
  max_new,
  temperature,
  top_k,
  most,
  stop,
  stretch,
  allowed=None,
) -> Callable[[ReplyState], ReplyState]:
  """Returns the function that samples a stretch; see `sample_text`."""
  next_logits = _output_head(model, allowed)
  prefix, prefix_mask = prefix
  stretch = min(stretch, max_new)
  capacity = -(-max_new // stretch) * stretch
  slots = jnp.arange(capacity)
  keys = jax.random.split(key, max_new)[jnp.minimum(slots, max_new - 1)]
  is_split = capacity > stretch

  # Under `jax.vmap` each reply has its own `start`, and writes to different
  # slots are slow scatters. So a stretch writes to a cache of its own, where
  # all replies share the slots, and is copied once at its end.
  def sample_stretch(state: ReplyState) -> ReplyState:
    start, earlier = state.start, state.last.cache

    def step(last: TokenState, inputs):
      i, key = inputs
      logits = next_logits(last.hidden)
      token = pick_token(
        key, logits, temperature, top_k, min(most, logits.shape[-1])
      )
      token = jnp.where(last.ended, stop, token)
      ended = last.ended | (token == stop)
      mask = [*past_mask, attention_mask.Interval(end=(i + 1)[None])]
      hidden, cache = model(
        token[None], mask, (position + start + i)[None], last.cache, past
      )
      return TokenState(hidden[0], cache, ended), token

    past, past_mask = prefix, prefix_mask
    if is_split:
      past = [*prefix, earlier]
      past_mask = [*prefix_mask, attention_mask.Interval(end=start[None])]
    own_cache = model.empty_cache((), stretch)
    # The slots of this cache stay common to all replies.
    own_cache = dataclasses.replace(
      own_cache,
      k=_mapped_like(key, own_cache.k),
      v=_mapped_like(key, own_cache.v),
    )
    last, new_tokens = jax.lax.scan(
      step,
      dataclasses.replace(state.last, cache=own_cache),
      (jnp.arange(stretch), jax.lax.dynamic_slice_in_dim(keys, start, stretch)),
    )
    if is_split:
      earlier = earlier.put(last.cache, start)
    tokens = jax.lax.dynamic_update_slice(state.tokens, new_tokens, (start,))
    last = dataclasses.replace(last, cache=earlier)
    return ReplyState(start + stretch, last, tokens)

  return sample_stretch


def _mapped_like(key, values):
  """Returns equal values, mapped by every `jax.vmap` that maps the key.

  For each `jax.vmap`, JAX traces a loop repeatedly until it knows which parts
  of the loop state are mapped; once is enough if all are from the start. XLA
  removes the selection.
  """
  is_true = jax.random.key_data(key)[0] >= 0
  return jax.tree.map(lambda a: jnp.where(is_true, a, a), values)


def _output_head(model, allowed) -> Callable[[jax.Array], jax.Array]:
  """Returns the map from a hidden state [D] to logits of allowed tokens."""
  if allowed is None:
    return model.text_head()

  def masked_logits(hidden):
    return jnp.where(allowed, model.logits(hidden), attention_mask.LOWEST)

  return masked_logits
