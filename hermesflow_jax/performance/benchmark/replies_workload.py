"""The text generation workload: captions and answers about images."""

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
  """Samples replies to prompts about images.

  Attributes:
    images: images per batch.
    replies_per_image: replies that are written about an image.
    shared: whether the replies to an image share a prompt (candidates) or have
      their own prompts (questions).
    grid: side of the square code grid.
    prompt: tokens per prompt.
    tokens: tokens per reply.
    naive_calls: model calls that the naive form runs, with evenly spread row
      lengths; their time is scaled to all calls.
  """

  images: settings.PositiveInt
  replies_per_image: settings.PositiveInt
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
    """Returns a sampler call in which no reply ends early."""
    model = models.showo
    image, prompt, lengths = self.parts(model, rng)
    keys = jax.random.split(
      jax.random.key(0), (self.images, self.replies_per_image)
    )
    stretch = 16

    def sample(model, key, image, prompt, length):
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
      inner = jax.vmap(sample, (None, 0, None, None, None))
    else:
      inner = jax.vmap(sample, (None, 0, None, 0, 0))
    return workload.Work(
      jax.jit(jax.vmap(inner, (None, 0, 0, 0, 0))),
      (model, keys, image, prompt, lengths),
      trips=-(-self.tokens // min(stretch, self.tokens)),
    )

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns `naive_calls` calls with evenly spread row lengths."""
    scale = self.calls() / self.naive_calls
    return naive_reread(models.showo, self.naive_rows(models.showo, rng), scale)

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns the least work; each token reads the weights once."""
    config = models.showo.config
    decoder, image = config.decoder, self.grid**2 + 3
    prompts = 1 if self.shared else self.replies_per_image
    prompt, tokens = self.prompt + 1, self.tokens
    flops = flop_count.decoder_flops(decoder, image, image)
    flops += prompts * flop_count.decoder_flops(
      decoder, prompt, image + (prompt + 1) / 2
    )
    # The last token of a reply is no input of the model.
    seen = image + prompt + tokens / 2
    flops += self.replies_per_image * flop_count.decoder_flops(
      decoder, tokens - 1, seen
    )
    rows = self.replies_per_image * (tokens - 1) + prompts
    flops += flop_count.head_flops(decoder, rows, config.vocab.text_size)
    read = flop_count.weight_bytes(models.showo, config.vocab.text_size)
    return flop_count.Cost(self.images * flops, tokens * read)

  def naive_rows(
    self, model: showo.ShowO, rng: np.random.Generator
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the rows (tokens int64[T], mask bool[T, T]) for naive calls.

    Row lengths are evenly spread between the prompt end and the reply end.
    """
    image, prompt, _ = self.parts(model, rng)
    calls = self.naive_calls
    lengths = ((np.arange(calls) + 0.5) / calls * self.tokens).astype(int)
    return [naive_reply(image, prompt, length) for length in lengths]

  def calls(self) -> int:
    """Returns how many model calls the naive form needs."""
    return self.images * self.replies_per_image * self.tokens

  def parts(self, model: showo.ShowO, rng: np.random.Generator):
    """Returns images and prompts; a shared prompt comes once per image."""
    count = 1 if self.shared else self.replies_per_image
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
    model: Show-o that defines the vocabulary.
    rng: random generator.
    images: N, number of images.
    prompts: Q, prompts per image.
    grid: side of the square code grid.
    words: P, tokens per prompt.

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
  """Builds the row for an image, a prompt and a reply.

  Args:
    image: Rows [N, E], see `reply_parts`; the first is used.
    prompt: Rows [N, Q, P], see `reply_parts`; the first is used.
    reply: number of tokens of the reply.

  Returns:
    (tokens int64[T], mask bool[T, T]).
  """
  head = np.concatenate([image.tokens[0], prompt.tokens[0, 0]])
  ar = np.concatenate([image.ar[0], prompt.ar[0, 0]])
  tokens = np.concatenate([head, np.resize(head[-5:], reply)])
  blocks = np.concatenate([ar, np.ones(reply, ar.dtype)])
  mask = attention_mask.mask_matrix(blocks, np.ones(len(tokens), bool))
  return tokens, np.asarray(mask)


def naive_reread(model: showo.ShowO, rows, scale: float) -> list[workload.Work]:
  """Returns calls that run whole rows and compute all logits at all positions.

  Args:
    model: Show-o.
    rows: rows from `naive_reply`.
    scale: factor for the measured seconds.
  """

  @jax.jit
  def run(model, tokens, mask):
    hidden, _ = model(tokens, mask, jnp.arange(tokens.size))
    return model.logits(hidden)[-1].argmax()

  return [
    workload.Work(run, (model, tokens.astype(np.int32), mask), scale)
    for tokens, mask in rows
  ]
