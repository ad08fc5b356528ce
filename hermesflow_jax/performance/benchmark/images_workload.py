"""The image generation workload: MaskGIT samples images for captions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import masked_steps
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image


@dataclasses.dataclass(frozen=True)
class ImagesWorkload:
  """Samples images for captions.

  Attributes:
    count: images per batch.
    grid: side of the square code grid.
    steps: MaskGIT steps.
    guidance: guidance scale, > 0.
    text: text tokens per row, including bos and eos.
    naive_steps: steps that the naive form runs; its time is scaled to `steps`.
  """

  count: settings.PositiveInt
  grid: settings.PositiveInt
  steps: settings.PositiveInt
  guidance: settings.PositiveFloat
  text: settings.PositiveInt
  naive_steps: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)
    if self.naive_steps > self.steps:
      raise ValueError(
        f'naive_steps must be at most steps={self.steps}, got '
        f'{self.naive_steps}'
      )

  def ours(
    self, models: workload.Models, rng: np.random.Generator
  ) -> workload.Work:
    """Returns a sampler call with all images."""
    model = models.showo
    vocab = model.config.vocab
    size = self.grid**2
    sampler = maskgit.MaskGITSampler(self.steps, self.guidance)
    counts = self._counts()
    words = workload.random_texts(rng, model.config, self.count, self.text - 2)
    rows = text_to_image.t2i_prefix(vocab, words, self.text)
    empty = text_to_image.t2i_prefix(vocab, [[]], self.text)
    empty = jax.tree.map(lambda a: a[0], empty)
    keys = jax.random.split(jax.random.key(0), self.count)

    def sample(model, key, row, empty):
      codes, _ = maskgit.sample_image(
        model,
        key,
        [row, empty],
        jnp.zeros(size, jnp.int32),
        jnp.zeros(size, bool),
        sampler,
        counts,
      )
      return codes

    return workload.Work(
      jax.jit(jax.vmap(sample, (None, 0, 0, None))), (model, keys, rows, empty)
    )

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns the first `naive_steps` steps for the same images."""
    model = models.showo
    vocab = model.config.vocab
    size = self.grid**2
    words = workload.random_texts(rng, model.config, self.count, self.text - 2)
    zeros = np.zeros((self.count, size), np.int32)
    rows = text_to_image.t2i_rows(vocab, words, zeros, self.text)
    empty = text_to_image.t2i_rows(vocab, [[]] * self.count, zeros, self.text)
    tokens = np.concatenate([rows.tokens, empty.tokens])
    start = self.text + 2
    tokens[:, start : start + size] = vocab.mask
    ar = np.concatenate([rows.ar, empty.ar])
    valid = np.concatenate([rows.valid, empty.valid])
    counts = self._counts()
    guidance = self.guidance

    def run(model, key, tokens, ar, valid):
      mask = attention_mask.mask_matrix(ar, valid)
      positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)

      def step(tokens, inputs):
        key, count = inputs
        hidden, _ = model(tokens, mask, positions)
        logits = model.logits(hidden)
        cond, uncond = jnp.split(logits, 2)
        logits = (1 + guidance) * cond - guidance * uncond
        first, last = vocab.image_offset, vocab.mask
        logits = logits[:, start : start + size, first:last]
        draw, noise = jax.random.split(key)
        drawn = jax.random.categorical(draw, logits) + first
        current = tokens[: self.count, start : start + size]
        drawn = jnp.where(current == vocab.mask, drawn, current)
        logps = jax.nn.log_softmax(logits)
        sure = jnp.take_along_axis(logps, (drawn - first)[..., None], axis=-1)[
          ..., 0
        ] + jax.random.gumbel(noise, drawn.shape)
        sure = jnp.where(current == vocab.mask, sure, jnp.inf)
        cut = jnp.sort(sure, axis=-1)[:, count][:, None]
        after = jnp.where(sure < cut, vocab.mask, drawn).astype(jnp.int32)
        return tokens.at[:, start : start + size].set(
          jnp.concatenate([after, after])
        ), None

      keys = jax.random.split(key, self.naive_steps)
      return jax.lax.scan(step, tokens, (keys, counts[: self.naive_steps]))[0]

    return [
      workload.Work(
        jax.jit(run),
        (model, jax.random.key(0), tokens, ar, valid),
        self.steps / self.naive_steps,
      )
    ]

  def _counts(self) -> np.ndarray:
    """Returns int32[S], the codes that stay masked after each step."""
    return mask_schedules.schedule_counts(
      self.steps, self.grid**2, mask_schedules.cosine
    )

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns the least work; each step reads the weights once."""
    config = models.showo.config
    decoder, rows = config.decoder, self.grid**2 + 2
    text = flop_count.decoder_flops(decoder, self.text + 1, (self.text + 2) / 2)
    nothing = flop_count.decoder_flops(decoder, 3, 2)
    step = flop_count.decoder_flops(decoder, rows, rows + self.text + 1)
    step += flop_count.decoder_flops(decoder, rows, rows + 3)
    flops = self.count * (text + self.steps * step) + nothing
    masked = masked_steps.most_masked(self._counts(), rows - 2)
    flops += self.count * flop_count.head_flops(
      decoder, sum(masked), config.vocab.codebook_size
    )
    read = flop_count.weight_bytes(models.showo, config.vocab.codebook_size)
    return flop_count.Cost(flops, self.steps * read)
