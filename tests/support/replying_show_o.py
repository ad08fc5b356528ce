"""A small Show-o that is trained until its replies about codes are right."""

import functools

from flax import nnx
import jax
import numpy as np
import optax

from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.training import log_likelihood

QUESTION = 'what does the picture show?'
# Some begin alike, some are the beginning of another, some are long.
REPLIES = (
  'red',
  'red and white',
  'dark blue',
  'dark blue stripes on a wall',
  'a green bench',
  'a green bench under an old tree',
  '2',
  '2 dogs',
  'nothing',
  'on the left of the tree',
  'on the right of the tree',
  'nobody-knows',
)
CODES = 16
# Image codes are below this.
USED_CODES = 512
LENGTHS = token_rows.Lengths(max_text=16, mmu=48, prompt=48, lm=16, reply=9)
BATCH, STEPS = 16, 80


def images(rng, count, noise=0.0):
  """Codes int32[count, CODES] and which reply each means, int[count].

  Each code says what the picture shows, or with probability `noise` something
  else.
  """
  kinds = rng.integers(0, len(REPLIES), count)
  output = np.repeat(kinds[:, None], CODES, axis=1)
  other = rng.integers(0, len(REPLIES), output.shape)
  output = np.where(rng.random(output.shape) < noise, other, output)
  return (output * 37 + rng.integers(0, 3, output.shape)).astype(
    np.int32
  ), kinds


def model_of(vocab, dtype='float32'):
  """A random Show-o of width 32."""
  decoder = phi.PhiConfig(width=32, layers=2, heads=2, mlp=64, dtype=dtype)
  config = showo.ShowOConfig(vocab, decoder, CODES)
  return jax.jit(lambda key: showo.ShowO(config, rngs=nnx.Rngs(key)))(
    jax.random.key(0)
  )


def show_o_vocab(text):
  """Show-o's vocabulary."""
  return vocabulary.Vocab(text.size, 8192, text.eos)


def turns(text):
  """(ids of the prompt, ids of each reply)."""
  (prompt,) = text.encode([text_tokenizer.user_turn(QUESTION)])
  return prompt, text.encode_replies(REPLIES)


def trained(model, prompt, replies, noise=0.0, stages=(STEPS,)):
  """Yields the model after some numbers of steps."""
  vocab = model.config.vocab
  optimizer = optax.adam(optax.cosine_decay_schedule(6e-3, max(stages)))
  rng = np.random.default_rng(0)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(model, state, rows):
    def loss(model):
      return log_likelihood.mean_nll(
        *log_likelihood.text_logps(model, rows, LENGTHS.reply)
      )

    updates, state = optimizer.update(jax.grad(loss)(model), state, model)
    return optax.apply_updates(model, updates), state

  state = jax.jit(optimizer.init)(model)
  for number in range(1, max(stages) + 1):
    codes, kinds = images(rng, BATCH, noise)
    rows = image_to_text.mmu_rows(
      vocab, codes, [prompt] * BATCH, [replies[k] for k in kinds], LENGTHS.mmu
    )
    model, state = step(model, state, rows)
    if number in stages:
      yield nnx.clone(model)


def trained_on_used_tokens(text):
  """The model after training only with tokens that rows have.

  The other tokens keep their random embeddings, and a low bias in the head, as
  training gives them.
  """
  vocab = show_o_vocab(text)
  prompt, replies = turns(text)
  words = sorted({text.eos}.union(prompt, *replies))
  number = {word: n for n, word in enumerate(words)}
  used = vocabulary.Vocab(len(words), USED_CODES, number[text.eos])
  (small,) = trained(
    model_of(used),
    [number[word] for word in prompt],
    [[number[word] for word in reply] for reply in replies],
  )
  # The special tokens and the codes follow the words.
  ids = np.r_[words, vocab.pad : vocab.image_offset + USED_CODES, vocab.mask]
  model = model_of(vocab)
  bias = np.full(vocab.size, -10.0, np.float32)
  bias[ids] = small.head.bias[...]
  kernel, table = (
    np.array(a[...]) for a in (model.head.kernel, model.embed.embedding)
  )
  kernel[:, ids] = small.head.kernel[...]
  table[ids] = small.embed.embedding[...]
  model.decoder = small.decoder
  model.head.bias[...], model.head.kernel[...] = bias, kernel
  model.embed.embedding[...] = table
  return model
