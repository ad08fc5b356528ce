"""Replies in parts: the host gets the tokens after each stretch."""

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


def stream_tokens(
  unified,
  images: np.ndarray,
  prompts: Sequence[str],
  decoding: batched.Decoding,
  keys: np.ndarray,
  listen: Callable[[np.ndarray], None],
) -> np.ndarray:
  """Samples replies to questions about images, a stretch at a time.

  The replies are those of `question_answering.QuestionAnswerer.reply_tokens`.
  The host waits for the device after each stretch.

  Args:
    unified: a `unified_model.UnifiedModel`.
    images: int[N, I], image codes, or images that the model's reader reads.
    prompts: N questions; N is a multiple of the mesh's `data` axis.
    decoding: text sampler.
    keys: uint32[N, 1, 2], raw random keys.
    listen: is called after each stretch with the tokens so far, int32[N, S].

  Returns:
    int32[N, R], ids; behind the end of a reply they are `vocab.eos`.
  """
  model = unified.sampler.serving_model
  image, prompt, lengths = unified.reader.parts(
    images,
    np.arange(len(images)),
    unified.text.encode([unified.reader.user_turn(text) for text in prompts]),
    unified.lengths.prompt,
  )
  batch = sharding.put_batch((keys[:, 0], image, prompt, lengths), unified.mesh)
  options = {'max_new': unified.lengths.reply, 'stop': unified.vocab.eos}
  prefix, state = _begin(model, *batch[1:], **options)
  positions = lengths + image.tokens.shape[-1]
  while True:
    state, tokens, ended = _continue(
      model,
      batch[0],
      prefix,
      positions,
      state,
      np.float32(decoding.temperature),
      np.int32(decoding.top_k),
      most=decoding.top_k,
      **options,
    )
    start, tokens, ended = processes.to_host((state.start, tokens, ended))
    sampled = tokens[:, : int(start[0])]
    listen(sampled)
    if ended.all() or sampled.shape == tokens.shape:
      return tokens


@functools.partial(jax.jit, static_argnames=('max_new', 'stop'))
def _begin(model, images, prompts, lengths, max_new, stop):
  """Returns prefixes and states of N replies before their first tokens."""

  def begin(image, prompt, length):
    return autoregressive.begin_reply(
      model, image, prompt, length, max_new=max_new, stop=stop, stretch=STRETCH
    )

  return jax.vmap(begin)(images, prompts, lengths)


@functools.partial(
  jax.jit, static_argnames=('max_new', 'stop', 'most'), donate_argnames='state'
)
def _continue(
  model, keys, prefix, positions, state, temperature, top_k, most, max_new, stop
):
  """Returns (states after a stretch, tokens int32[N, R], ended bool[N])."""

  def step(key, prefix, position, state):
    return autoregressive.continue_reply(
      model,
      jax.random.wrap_key_data(key),
      prefix,
      position,
      state,
      max_new=max_new,
      temperature=temperature,
      top_k=top_k,
      most=most,
      stop=stop,
      stretch=STRETCH,
    )

  state = jax.vmap(step)(keys, prefix, positions, state)
  return state, state.tokens[:, :max_new], state.last.ended
