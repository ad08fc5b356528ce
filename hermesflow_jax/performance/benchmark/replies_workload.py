"""Replies to prompts about images: captions and answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text


@dataclasses.dataclass(frozen=True)
class RepliesWorkload:
  """Replies to prompts about images.

  Attributes:
    images: at once.
    each: replies about an image: candidates of one prompt, or questions.
    shared: whether they reply to the same prompt.
    grid: side of the square of codes.
    prompt: tokens of a prompt.
    tokens: of a reply.
    naive_calls: as many calls of the model the naive way runs, evenly spread
      over the lengths of a row; their time is scaled up.
  """

  images: settings.PositiveInt
  each: settings.PositiveInt
  shared: bool
  grid: settings.PositiveInt
  prompt: settings.PositiveInt
  tokens: settings.PositiveInt
  naive_calls: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)

  def ours(
    self, models: workload.Models, rng: np.random.Generator
  ) -> workload.Work:
    """Returns the sampler of replies at work; none of them ends early."""
    model = models.showo
    image, prompt, lengths = self.parts(model, rng)
    keys = jax.random.split(jax.random.key(0), (self.images, self.each))
    stretch = 16

    def one(model, key, image, prompt, length):
      return autoregressive.sample_text(
        model,
        key,
        image,
        prompt,
        length,
        max_new=self.tokens,
        temperature=1.0,
        top_k=4,
        most=4,
        stop=-1,
        stretch=stretch,
      )

    if self.shared:
      prompt, lengths = jax.tree.map(lambda a: a[:, 0], (prompt, lengths))
      inner = jax.vmap(one, (None, 0, None, None, None))
    else:
      inner = jax.vmap(one, (None, 0, None, 0, 0))
    return workload.Work(
      jax.jit(jax.vmap(inner, (None, 0, 0, 0, 0))),
      (model, keys, image, prompt, lengths),
      trips=-(-self.tokens // min(stretch, self.tokens)),
    )

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns some calls of the naive way, each of a length of its own."""
    scale = self.calls() / self.naive_calls
    return naive_reread(models.showo, self.naive_rows(models.showo, rng), scale)

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns what replies need; each token reads the weights."""
    config = models.showo.config
    decoder, image = config.decoder, self.grid**2 + 3
    prompts = 1 if self.shared else self.each
    prompt, tokens = self.prompt + 1, self.tokens
    one = flop_count.decoder_flops(decoder, image, image)
    one += prompts * flop_count.decoder_flops(
      decoder, prompt, image + (prompt + 1) / 2
    )
    # The last token of a reply is not read.
    seen = image + prompt + tokens / 2
    one += self.each * flop_count.decoder_flops(decoder, tokens - 1, seen)
    rows = self.each * (tokens - 1) + prompts
    one += flop_count.head_flops(decoder, rows, config.vocab.text_size)
    read = flop_count.weight_bytes(models.showo, config.vocab.text_size)
    return flop_count.Cost(self.images * one, tokens * read)

  def naive_rows(
    self, model: showo.ShowO, rng: np.random.Generator
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (tokens int64[T], sees bool[T, T]) of some naive calls.

    One row at a time, of evenly spread lengths between the prompt's and that of
    the whole reply.
    """
    image, prompt, _ = self.parts(model, rng)
    calls = self.naive_calls
    lengths = ((np.arange(calls) + 0.5) / calls * self.tokens).astype(int)
    return [naive_reply(image, prompt, length) for length in lengths]

  def calls(self) -> int:
    """Returns how often the naive way calls the model in all."""
    return self.images * self.each * self.tokens

  def parts(self, model: showo.ShowO, rng: np.random.Generator):
    """Returns what is read; of replies to one prompt, that one alone."""
    count = 1 if self.shared else self.each
    return reply_parts(model, rng, self.images, count, self.grid, self.prompt)


def reply_parts(
  model: showo.ShowO,
  rng: np.random.Generator,
  images: int,
  prompts: int,
  grid: int,
  words: int,
):
  """Returns random prompts about random images.

  Args:
    model: whose tokens.
    rng: randomness.
    images: N.
    prompts: Q about each image.
    grid: side of the square of codes.
    words: tokens of a prompt.

  Returns:
    (images Rows [N, E], prompts Rows [N, Q, P], lengths int32[N, Q]).
  """
  config = model.config
  codes = workload.random_codes(rng, config, images, grid**2)
  image, prompt, lengths = image_to_text.mmu_parts(
    config.vocab,
    np.repeat(codes, prompts, 0),
    workload.random_texts(rng, config, images * prompts, words),
    grid**2 + 4 + words,
  )

  def grouped(a):
    return a.reshape(images, prompts, *a.shape[1:])

  image = jax.tree.map(lambda a: grouped(a)[:, 0], image)
  return image, jax.tree.map(grouped, prompt), grouped(lengths)


def naive_reply(image, prompt, reply: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns (tokens int64[T], sees bool[T, T]) of a row with `reply` tokens.

  Args:
    image, prompt: of `reply_parts`; the first counts.
    reply: tokens of the reply.
  """
  head = np.concatenate([image.tokens[0], prompt.tokens[0, 0]])
  ar = np.concatenate([image.ar[0], prompt.ar[0, 0]])
  tokens = np.concatenate([head, np.resize(head[-5:], reply)])
  blocks = np.concatenate([ar, np.ones(reply, ar.dtype)])
  sees = attention_mask.mask_matrix(blocks, np.ones(len(tokens), bool))
  return tokens, np.asarray(sees)


def naive_reread(model: showo.ShowO, rows, scale: float) -> list[workload.Work]:
  """Returns whole rows through the model, logits of all words everywhere.

  Args:
    model: which.
    rows: of `naive_reply`.
    scale: what the time of each is multiplied by.
  """

  @jax.jit
  def run(model, tokens, sees):
    hidden, _ = model(tokens, sees, jnp.arange(tokens.size))
    return model.logits(hidden)[-1].argmax()

  return [
    workload.Work(run, (model, tokens.astype(np.int32), sees), scale)
    for tokens, sees in rows
  ]
