"""Requests for the best drawings, by the likelihood of the prompt."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_scores
from hermesflow_jax.sampling import search_settings


@dataclasses.dataclass(frozen=True)
class SearchRequest:
  """Images to draw, the best of several candidates.

  Attributes:
    prompt: text to draw.
    images: number of the best candidates that are sent.
    candidates: number of candidates, at least `images`.
    seed: random seed.
    pixels: uint8[side, side, 3], the image to change; None for a new image.
    known: bool[I], the codes of `pixels` that stay; None for a new image.
  """

  prompt: str
  images: int
  candidates: int
  seed: int = 0
  pixels: np.ndarray | None = None
  known: np.ndarray | None = None


def image_name(seed: int, number: int, prompt: str) -> str:
  """Returns the name of an image, from which its random key derives."""
  return f'{seed}/{number}/{prompt}'


def draw(
  unified,
  requests: Sequence[SearchRequest],
  sampler: maskgit.MaskGITSampler,
  settings: search_settings.Search,
  root_seed: int,
) -> list[np.ndarray]:
  """Draws candidates and returns the best images.

  Args:
    unified: a `unified_model.UnifiedModel`.
    requests: N requests with the same numbers of images and candidates, all
      for new images, or all for changes of images.
    sampler: image sampler.
    settings: score and stages of the search.
    root_seed: seed of all random keys.

  Returns:
    uint8[images, side, side, 3] for each, the best image first.
  """
  count = requests[0].candidates
  names = [
    f'image/{image_name(r.seed, number, r.prompt)}'
    for r in requests
    for number in range(count)
  ]
  keys = batched.identity_keys(root_seed, names, 1)
  known_codes = None
  if requests[0].pixels is not None:
    codes = unified.encode(np.stack([r.pixels for r in requests]))
    known = np.stack([r.known for r in requests])
    known_codes = tuple(
      np.repeat(values[:, None], count, axis=1) for values in (codes, known)
    )
  task = search.Task(
    unified,
    sampler,
    settings,
    [r.prompt for r in requests],
    keys.reshape(len(requests), count, -1),
    known_codes=known_codes,
  )
  codes = search.choose(task, requests[0].images).codes
  pixels = unified.decode(codes.reshape(-1, codes.shape[-1]))
  return list(pixels.reshape(*codes.shape[:2], *pixels.shape[1:]))


def choose_best(
  unified, requests: Sequence[SearchRequest], codes: np.ndarray
) -> list[np.ndarray]:
  """Returns the best of the drawings of each request; see `draw`.

  Args:
    unified: a `unified_model.UnifiedModel`.
    requests: N requests with the same numbers of images and candidates.
    codes: int32[N * candidates, I], the drawings of all requests.
  """
  count, images = requests[0].candidates, requests[0].images
  prompts = [r.prompt for r in requests for _ in range(count)]
  scores = search_scores.score(unified, 'likelihood', codes, prompts)
  best = search.best(scores.reshape(-1, count), images)
  places = (best + count * np.arange(len(requests))[:, None]).reshape(-1)
  pixels = unified.decode(codes[places])
  return list(pixels.reshape(len(requests), images, *pixels.shape[1:]))
