"""What the model service computes for a client."""

from collections.abc import Callable
import dataclasses

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.serving import served_images


@dataclasses.dataclass(frozen=True)
class ReplyRequest:
  """A question about an image.

  Attributes:
    image: the image; questions about equal images share a prefix.
    prompt: what the user says.
    decoding: text sampler.
    most_tokens: limit on the tokens of the reply.
    seed: random seed.
    number: number of the reply, of several to the same question.
    listener: is called with the tokens so far, int32[R], while the reply is
      sampled; None for a reply that is not streamed.
  """

  image: served_images.ServedImage
  prompt: str
  decoding: batched.Decoding = batched.GREEDY
  most_tokens: int = 10**6
  seed: int = 0
  number: int = 0
  listener: Callable[[np.ndarray], None] | None = None


@dataclasses.dataclass(frozen=True)
class DrawRequest:
  """An image to draw.

  Attributes:
    prompt: text to draw.
    seed: random seed.
    number: number of the image, of several for the same prompt.
    pixels: uint8[side, side, 3], the image to change; None for a new image.
    known: bool[I], the codes of `pixels` that stay; None for a new image.
  """

  prompt: str
  seed: int = 0
  number: int = 0
  pixels: np.ndarray | None = None
  known: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class ScoreRequest:
  """A reply whose tokens' log-probabilities are asked for.

  Attributes:
    image: the image of the question.
    prompt: the question.
    tokens: int[R], the reply.
  """

  image: served_images.ServedImage
  prompt: str
  tokens: np.ndarray
