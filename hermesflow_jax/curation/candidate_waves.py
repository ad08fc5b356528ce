"""Draws more images for inputs whose images teach little.

A few first images tell which inputs are easy: only the others get K. Further
images are drawn in waves of K. An input whose images all score alike, or too
low, gets another wave. Easy inputs, whose images all score high, can be left
out. K images remain: the best and the worst of all, and others in the order of
their numbers. Image m has the random key that it has when all images are drawn
at once.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model

# Decimals of scores: rounding of sums, which depends on devices and batches,
# must not decide who gets more images.
_DECIMALS = 5


def check(
  images: int,
  most_images: int,
  easy_score: float | None = None,
  first_images: int = 0,
) -> None:
  """Checks the settings `most_images`, `easy_score` and `first_images`.

  Args:
    images: K, images of a wave.
    most_images: images that are drawn for an input, at most; 0: K.
    easy_score: see `draw_more`.
    first_images: see `draw_rest`; 0: K.

  Raises:
    ValueError: numbers that do not fit, a score without more images, or first
      images without a score.
  """
  if easy_score is not None and not (most_images or first_images):
    raise ValueError(
      f'easy_score must be None with most_images=0 and first_images=0, got '
      f'{easy_score}: all inputs get as many images'
    )
  if first_images and easy_score is None:
    raise ValueError(
      f'easy_score must be a number with first_images={first_images}, got '
      'None: the score of first images that are good enough'
    )
  if first_images and most_images:
    raise ValueError(
      f'most_images must be 0 with first_images={first_images}, got '
      f'{most_images}: hard inputs get `images` images'
    )
  if not 0 <= first_images < images:
    raise ValueError(
      f'first_images must be less than images, {images}, got {first_images}'
    )
  if most_images and most_images < images:
    raise ValueError(
      f'most_images must be 0 or at least images, {images}, got {most_images}'
    )


@dataclasses.dataclass(frozen=True)
class ScoredImages:
  """K images for each of N inputs.

  Attributes:
    codes: int32[N, K, I], image codes.
    scores: float[N, K], higher is better.
    answers: N * K lists of answers about the images.
  """

  codes: np.ndarray
  scores: np.ndarray
  answers: list[list[str]]

  def with_more(self, rows: np.ndarray, more: 'ScoredImages') -> 'ScoredImages':
    """Returns K images, also from J more images of some inputs int[R].

    The best and the worst of an input's K + J images remain.
    """
    codes, scores = self.codes.copy(), self.scores.copy()
    images, answers = scores.shape[1], list(self.answers)
    both = np.concatenate([scores[rows], more.scores], axis=1)
    places = kept_places(np.round(both, _DECIMALS), images)
    drawn = np.concatenate([codes[rows], more.codes], axis=1)
    codes[rows] = drawn[np.arange(len(rows))[:, None], places]
    scores[rows] = np.take_along_axis(both, places, axis=1)
    count = more.scores.shape[1]
    for n, (row, of_input) in enumerate(zip(rows, places, strict=True)):
      old = self.answers[row * images : (row + 1) * images]
      texts = old + more.answers[n * count : (n + 1) * count]
      answers[row * images : (row + 1) * images] = [texts[p] for p in of_input]
    return ScoredImages(codes, scores, answers)


def kept_places(scores: np.ndarray, images: int) -> np.ndarray:
  """Returns the places of the images that remain, in increasing order.

  Args:
    scores: float[N, J].
    images: K, at least 2 and at most J.

  Returns:
    int[N, K]: the best, the worst, and the first of the others. Of equal scores
    the first counts.

  >>> kept_places(np.array([[1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 1, 1]]), 2)
  array([[0, 3],
         [0, 1],
         [0, 2]])
  """
  order = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
  for extreme in (scores.argmax(1), scores.argmin(1)):
    np.put_along_axis(order, extreme[:, None], -1, axis=1)
  first = np.argsort(order, axis=1, kind='stable')[:, :images]
  return np.sort(first, axis=1)


def draw_rest(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  first: ScoredImages,
  *,
  sampler: maskgit.MaskGITSampler,
  seed: int,
  images: int,
  easy_score: float,
  score: Callable,
) -> tuple[ScoredImages, np.ndarray]:
  """Draws K images for inputs that are not easy; all processes call it.

  An easy input, whose first images all score at least `easy_score`, gets no
  more. Its first images are repeated up to K, so that arrays have one shape.

  Args:
    unified: the newest model.
    inputs: N inputs.
    first: a few images of each.
    sampler: image sampler.
    seed: the round's random seed.
    images: K.
    easy_score: score of an image that is good enough.
    score: see `draw_more`.

  Returns:
    (K images of each input, images drawn int[N]).
  """
  count, few = first.scores.shape
  repeated = np.arange(images) % few
  codes, scores = first.codes[:, repeated], first.scores[:, repeated]
  answers = [first.answers[n * few + m] for n in range(count) for m in repeated]
  drawn = np.full(count, few)
  rows = np.flatnonzero(np.round(first.scores, _DECIMALS).min(1) < easy_score)
  if len(rows):
    part, rest = inputs.select(rows), images - few
    codes[rows, few:] = unified.draw(
      part.ids, part.captions, rest, sampler, seed, first=few
    )
    scores[rows, few:], texts = score(part, codes[rows, few:])
    for n, row in enumerate(rows):
      more = texts[n * rest : (n + 1) * rest]
      answers[row * images + few : (row + 1) * images] = more
    drawn[rows] = images
  return ScoredImages(codes, scores, answers), drawn


def draw_more(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  first: ScoredImages,
  *,
  sampler: maskgit.MaskGITSampler,
  seed: int,
  most_images: int,
  easy_score: float | None,
  makes_pair: Callable[[np.ndarray], np.ndarray],
  score: Callable,
) -> tuple[ScoredImages, np.ndarray]:
  """Draws waves until an input has a pair; all processes call it.

  Args:
    unified: the newest model.
    inputs: N inputs.
    first: K images of each, the first wave.
    sampler: image sampler.
    seed: the round's random seed.
    most_images: images that are drawn for an input, at most.
    easy_score: an input whose images all score at least this gets no more;
      None: every input without a pair does.
    makes_pair: (scores float[R, K]) -> bool[R], whether a wave suffices.
    score: (R inputs, codes int32[R, J, I]) -> (scores float[R, J], R * J lists
      of answers).

  Returns:
    (K images of each input, images drawn int[N]).
  """
  images = first.codes.shape[1]
  drawn = np.full(len(inputs), images)

  def pairless(rows, scored):
    scores = np.round(scored.scores[rows], _DECIMALS)
    needed = ~makes_pair(scores)
    if easy_score is not None:
      needed &= scores.min(1) < easy_score
    return rows[needed]

  scored, begin = first, images
  rows = pairless(np.arange(len(inputs)), scored)
  while len(rows) and begin < most_images:
    end = min(begin + images, most_images)
    part = inputs.select(rows)
    codes = unified.draw(
      part.ids, part.captions, end - begin, sampler, seed, first=begin
    )
    scored = scored.with_more(rows, ScoredImages(codes, *score(part, codes)))
    drawn[rows] = end
    rows, begin = pairless(rows, scored), end
  return scored, drawn
