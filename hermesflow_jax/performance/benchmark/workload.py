"""Something to time, and what it is made from."""

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
  """What works.

  Attributes:
    showo: reads and predicts; ready for sampling.
    learner: the same, as it is trained.
    tokenizer: of images; None where it is not asked for.
  """

  showo: showo.ShowO
  learner: showo.ShowO
  tokenizer: magvit.Magvit | None


@dataclasses.dataclass(frozen=True)
class Work:
  """Something to time.

  Attributes:
    call: of `arguments`; jitted.
    arguments: arrays.
    scale: what its time is multiplied by: the naive way runs a part.
    trips: of its `while` loops.
    carries: whether it takes its first argument away, and returns (what stands
      for it in the next call, anything).
  """

  call: Callable
  arguments: tuple[Any, ...]
  scale: float = 1.0
  trips: int = 1
  carries: bool = False


class Workload(Protocol):
  """A part of a round of curation, ours and naive.

  Naive is the same work as one writes it first, and as the official code does
  it: the whole row through the decoder for every step or token, logits of the
  whole vocabulary at every position, nothing kept.
  """

  def ours(self, models: Models, rng: np.random.Generator) -> Work:
    """Returns the work as it is done here."""

  def naive(self, models: Models, rng: np.random.Generator) -> list[Work]:
    """Returns the naive way, in parts."""

  def useful(self, models: Models) -> flop_count.Cost:
    """Returns the FLOPs that the work needs, and the least that it reads."""


def random_codes(rng: np.random.Generator, config: showo.ShowOConfig, *shape):
  """Returns random codes int32[shape]."""
  return rng.integers(0, config.vocab.codebook_size, shape).astype(np.int32)


def random_texts(
  rng: np.random.Generator, config: showo.ShowOConfig, count: int, size: int
) -> list[list[int]]:
  """Returns `count` random texts of `size` tokens."""
  return rng.integers(0, config.vocab.text_size - 10, (count, size)).tolist()


def total_flops(works: Sequence[Work], timed: Callable[[Work], float]) -> float:
  """Returns the seconds of several works, each scaled."""
  return sum(work.scale * timed(work) for work in works)
