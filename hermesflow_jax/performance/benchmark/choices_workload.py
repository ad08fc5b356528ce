"""The multiple-choice workload: answers by likelihood."""

import dataclasses
import functools

import jax
import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import showo
from hermesflow_jax.performance.benchmark import replies_workload
from hermesflow_jax.performance.benchmark import workload
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_scores
from hermesflow_jax.sampling import choice_tokens


@dataclasses.dataclass(frozen=True)
class ChoicesWorkload:
  """Scores the choices for questions about images.

  Attributes:
    images: images per batch.
    questions_per_image: questions about an image.
    choices: choices per question.
    grid: side of the square code grid.
    prompt: tokens per question.
    tokens: tokens per choice, including its end token.
  """

  images: settings.PositiveInt
  questions_per_image: settings.PositiveInt
  choices: settings.PositiveInt
  grid: settings.PositiveInt
  prompt: settings.PositiveInt
  tokens: settings.PositiveInt

  def __post_init__(self):
    settings.check(self)

  def ours(
    self, models: workload.Models, rng: np.random.Generator
  ) -> workload.Work:
    """Returns a call that scores all choices."""
    model = models.showo
    image, prompt, lengths = self._parts(model, rng)
    shape = self.images, self.questions_per_image, self.choices, self.tokens
    answers = rng.integers(0, model.config.vocab.text_size - 10, shape)
    valid = np.ones(shape, bool)
    siblings = choice_tokens.sibling_tokens(
      answers.reshape(-1, *shape[2:]), valid.reshape(-1, *shape[2:])
    ).reshape(*shape, self.choices)
    choices = choice_tokens.Choices(answers.astype(np.int32), valid, siblings)
    score = functools.partial(
      choice_scores.score_choices, rule=choice_rules.constrained_logp
    )
    score_image = jax.vmap(score, (None, None, 0, 0, 0))
    return workload.Work(
      jax.jit(jax.vmap(score_image, (None, 0, 0, 0, 0))),
      (model, image, prompt, lengths, choices),
    )

  def naive(
    self, models: workload.Models, rng: np.random.Generator
  ) -> list[workload.Work]:
    """Returns a call for a single choice, scaled to all choices."""
    return replies_workload.naive_reread(
      models.showo, self.naive_rows(models.showo, rng), self.calls()
    )

  def naive_rows(
    self, model: showo.ShowO, rng: np.random.Generator
  ) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the row (tokens int64[T], mask bool[T, T]) for a naive call."""
    image, prompt, _ = self._parts(model, rng)
    return [replies_workload.naive_reply(image, prompt, self.tokens)]

  def calls(self) -> int:
    """Returns how many model calls the naive form needs."""
    return self.images * self.questions_per_image * self.choices

  def useful(self, models: workload.Models) -> flop_count.Cost:
    """Returns the least work.

    The weights are read three times: for images, questions and choices.
    """
    config = models.showo.config
    decoder, image = config.decoder, self.grid**2 + 3
    prompt, rest = self.prompt + 1, self.tokens - 1
    flops = flop_count.decoder_flops(decoder, image, image)
    flops += self.questions_per_image * flop_count.decoder_flops(
      decoder, prompt, image + (prompt + 1) / 2
    )
    seen = image + prompt + (rest + 1) / 2
    flops += (
      self.questions_per_image
      * self.choices
      * flop_count.decoder_flops(decoder, rest, seen)
    )
    rows = self.questions_per_image * (1 + self.choices * rest)
    flops += flop_count.head_flops(decoder, rows, config.vocab.size)
    read = flop_count.weight_bytes(models.showo, config.vocab.size)
    return flop_count.Cost(self.images * flops, read * (3 if rest else 2))

  def _parts(self, model, rng):
    return replies_workload.reply_parts(
      model, rng, self.images, self.questions_per_image, self.grid, self.prompt
    )
