"""Replies in parts: the host gets the tokens after each stretch.

So a server can send a reply while it is sampled, and ends a batch as soon as
its longest reply has ended.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools

import jax
import numpy as np

from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import batched

# Tokens between two parts.
STRETCH = 4
# Axes of the prefixes of questions: caches and masks of image and prompt. All
# questions about an image share the cache of the image.
_PREFIX_AXES = [[None, 0], [None, 0]]


def sample_replies(
  unified,
  images: np.ndarray,
  prompts: Sequence[Sequence[str]],
  decodings: Sequence[batched.Decoding],
  keys: np.ndarray,
  listen: Callable[[np.ndarray], None] = lambda tokens: None,
  most_tokens: int | None = None,
) -> np.ndarray:
  """Samples replies to questions about images, a stretch at a time.

  The replies are those of `question_answering.QuestionAnswerer.reply_tokens`.
  The host waits for the device after each stretch.

  Args:
    unified: a `unified_model.UnifiedModel`.
    images: int[G, I], image codes, or images that the model's reader reads; G
      is a multiple of the mesh's `data` axis.
    prompts: Q questions about each image.
    decodings: G * Q text samplers. The noise of a token has the size of the
      largest `top_k`: others are 1, or the replies depend on it.
    keys: uint32[G * Q, 1, 2], raw random keys.
    listen: is called after each stretch with the tokens so far,
      int32[G * Q, S].
    most_tokens: tokens that are needed at most; None for `lengths.reply`.

  Returns:
    int32[G * Q, R], ids; behind the end of a reply, and behind the tokens that
    are needed, they are `vocab.eos`.
  """
  model, lengths = unified.sampler.serving_model, unified.lengths
  count, size = len(images), len(prompts[0])
  image, prompt, sizes = unified.reader.parts(
    images,
    np.repeat(np.arange(count), size),
    unified.text.encode(
      [unified.reader.user_turn(text) for texts in prompts for text in texts]
    ),
    lengths.prompt,
  )
  samplers = (
    np.array([d.temperature for d in decodings], np.float32),
    np.array([d.top_k for d in decodings], np.int32),
  )
  keys, prompt, sizes, samplers = jax.tree.map(
    lambda a: a.reshape(count, size, *a.shape[1:]),
    (keys[:, 0], prompt, sizes, samplers),
  )
  image, prompt, sizes, keys, samplers = sharding.put_batch(
    (image, prompt, sizes, keys, samplers), unified.mesh
  )
  options = {'max_new': lengths.reply, 'stop': unified.vocab.eos}
  most = min(most_tokens or lengths.reply, lengths.reply)
  prefix, state = _begin(model, image, prompt, sizes, **options)
  positions = sizes + image.tokens.shape[-1]
  start, ended = 0, np.zeros((), bool)
  while start < most and not ended.all():
    state, tokens, ended = _continue(
      model,
      keys,
      prefix,
      positions,
      state,
      samplers,
      most=max(d.top_k for d in decodings),
      **options,
    )
    tokens, ended = processes.to_host((tokens, ended))
    tokens = tokens.reshape(count * size, -1)
    start += STRETCH
    listen(tokens[:, :start])
  return tokens


@functools.partial(jax.jit, static_argnames=('max_new', 'stop'))
def _begin(model, images, prompts, lengths, max_new, stop):
  """Returns prefixes and states of replies before their first tokens."""

  def begin(image, prompt, length):
    return autoregressive.begin_reply(
      model, image, prompt, length, max_new=max_new, stop=stop, stretch=STRETCH
    )

  over_prompts = jax.vmap(begin, (None, 0, 0), (_PREFIX_AXES, 0))
  return jax.vmap(over_prompts)(images, prompts, lengths)


@functools.partial(
  jax.jit, static_argnames=('max_new', 'stop', 'most'), donate_argnames='state'
)
def _continue(
  model, keys, prefix, positions, state, samplers, most, max_new, stop
):
  """Returns (states after a stretch, tokens int32[G, Q, R], ended [G, Q])."""

  def step(key, prefix, position, state, sampler):
    return autoregressive.continue_reply(
      model,
      jax.random.wrap_key_data(key),
      prefix,
      position,
      state,
      max_new=max_new,
      temperature=sampler[0],
      top_k=sampler[1],
      most=most,
      stop=stop,
      stretch=STRETCH,
    )

  over_prompts = jax.vmap(step, (0, _PREFIX_AXES, 0, 0, 0))
  state = jax.vmap(over_prompts)(keys, prefix, positions, state, samplers)
  return state, state.tokens[..., :max_new], state.last.ended
