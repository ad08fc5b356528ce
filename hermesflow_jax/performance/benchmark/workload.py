"""Defines the workload interface and the models that workloads use."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
from typing import Any
from typing import Protocol

import numpy as np

from hermesflow_jax.models import flop_count
from hermesflow_jax.models import magvit
from hermesflow_jax.models import showo


@dataclasses.dataclass(frozen=True)
class Models:
  """Models that workloads run.

  Attributes:
    showo: model with weights in the sampling dtype.
    learner: the same model with weights as in training.
    tokenizer: image tokenizer, or None if no workload needs it.
  """

  showo: showo.ShowO
  learner: showo.ShowO
  tokenizer: magvit.Magvit | None


@dataclasses.dataclass(frozen=True)
class Work:
  """A compiled function and its arguments.

  Attributes:
    call: jitted function.
    arguments: arrays.
    scale: factor for the measured seconds; > 1 if `call` does only a part.
    trips: iterations per `while` loop, for FLOP counts.
    carries: whether `call` donates its first argument and returns a pair whose
      first item replaces it in the next call.
  """

  call: Callable
  arguments: tuple[Any, ...]
  scale: float = 1.0
  trips: int = 1
  carries: bool = False


class Workload(Protocol):
  """A part of a self-play round, as implemented here and in a naive form.

  The naive form does the same work like the official code: every step or token
  runs the whole row through the decoder and computes logits over the whole
  vocabulary at every position, without a cache.
  """

  def ours(self, models: Models, rng: np.random.Generator) -> Work:
    """Returns the work as implemented here."""

  def naive(self, models: Models, rng: np.random.Generator) -> list[Work]:
    """Returns the work in the naive form, in parts."""

  def useful(self, models: Models) -> flop_count.Cost:
    """Returns the least FLOPs and bytes that the work needs."""


def random_codes(rng: np.random.Generator, config: showo.ShowOConfig, *shape):
  """Returns random image codes int32[shape]."""
  return rng.integers(0, config.vocab.codebook_size, shape).astype(np.int32)


def random_texts(
  rng: np.random.Generator, config: showo.ShowOConfig, count: int, size: int
) -> list[list[int]]:
  """Returns `count` random token lists with `size` tokens."""
  return rng.integers(0, config.vocab.text_size - 10, (count, size)).tolist()


def scaled_total(
  works: Sequence[Work], timed: Callable[[Work], float]
) -> float:
  """Sums scaled values over works.

  Args:
    works: workload parts.
    timed: returns the seconds or FLOPs for a work.
  """
  return sum(work.scale * timed(work) for work in works)
