"""Selects the winner and the loser among an input's candidates.

HermesFlow (arXiv 2502.12148), section 3.2. For an input (image, caption) the
model writes captions of the image and generates images of the caption. A
caption is scored by its similarity to the true caption, an image by the
fraction of the caption's questions that the model itself answers right about
the image. When an input is met for the first time, the best candidate wins and
the worst loses; `choose_pair` has the rule for an input that is met again. The
pixel judge has no part in it.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import copy
import dataclasses

import numpy as np

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.runtime import disk_names
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class PairRules:
  """Conditions under which an input is used for training.

  Attributes:
    least_win: in [0, 1]; a winning image must score more than this. The bound
      is strict: an image with exactly this score does not win.
    least_score: the bound in the scale of an image scorer whose scores are no
      shares or probabilities; it replaces `least_win`. None for the default of
      the scorer, see `scoring.image_scorers`.
    least_margin: in [0, 1]; a winning image must score more than its loser by
      more than this. The bound is strict, too.
    both: True: an input needs a caption pair and an image pair; False: either
      pair is enough, see `is_trainable`.
  """

  least_win: settings.Fraction = 0.6
  least_margin: settings.Fraction = 0.0
  both: bool = False
  least_score: float | None = None

  def __post_init__(self):
    settings.check(self)

  @property
  def least_image_score(self) -> float:
    """Score that a winning image must exceed."""
    return self.least_win if self.least_score is None else self.least_score

  def make_image_pairs(self, scores: np.ndarray) -> np.ndarray:
    """Returns whether images make a pair in a first round.

    Args:
      scores: float[N, K], scores of K images of each input.

    Returns:
      bool[N]; `filter_pair` drops the others.
    """
    best, worst = scores.max(1), scores.min(1)
    difference = best - worst
    return (
      (best > self.least_image_score)
      & (difference > 0)
      & (difference > self.least_margin)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredCandidate:
  """A candidate with its score.

  Attributes:
    value: str, a caption; or int32[I], image codes.
    score: higher is better.
  """

  value: object
  score: float


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
  """An input's winner and loser: two captions or two images.

  Attributes:
    win, lose: the two sides. A dropped pair keeps them for the next round.
    dropped: the reason why the pair is not used for training; '' if it is.
  """

  win: ScoredCandidate
  lose: ScoredCandidate
  dropped: str = ''


def choose_pair(values, scores: np.ndarray, previous: Pair | None) -> Pair:
  """Chooses the winner and the loser by the paper's rule for rounds.

  First round: the best candidate wins, the worst loses.
  Later rounds: the best new candidate always wins. If it scores higher than
  the previous winner, the previous winner becomes the loser. Otherwise the
  previous loser stays. A new candidate never loses after the first round.

  Example, with candidates A, B, C, ... and their scores:

    round  candidates           winner  loser  because
    1      A 0.2  B 0.7  C 0.5  B 0.7   A 0.2  the best and the worst
    2      D 0.9  E 0.4         D 0.9   B 0.7  D beats B: B becomes the loser
    3      F 0.8  G 0.6         F 0.8   B 0.7  F does not beat D: B stays

  >>> first = choose_pair(['A', 'B', 'C'], np.array([0.2, 0.7, 0.5]), None)
  >>> first.win.value, first.lose.value
  ('B', 'A')
  >>> second = choose_pair(['D', 'E'], np.array([0.9, 0.4]), first)
  >>> second.win.value, second.lose.value
  ('D', 'B')
  >>> third = choose_pair(['F', 'G'], np.array([0.8, 0.6]), second)
  >>> third.win.value, third.lose.value
  ('F', 'B')

  Args:
    values: candidates of an input: M captions, str, or K images, codes
      int32[I].
    scores: float[M] or float[K]. Of equal scores the first candidate counts.
    previous: the input's pair in the round before, also if dropped; None if the
      input is new.

  Returns:
    The pair, not filtered yet (`filter_pair`).
  """
  best, worst = int(np.argmax(scores)), int(np.argmin(scores))
  win = _scored(values, scores, best)
  if previous is None:
    lose = _scored(values, scores, worst)
  elif win.score > previous.win.score:
    lose = previous.win
  else:
    lose = previous.lose
  return Pair(win, lose)


def _scored(values, scores: np.ndarray, place: int) -> ScoredCandidate:
  """Returns the candidate at a place."""
  # A view would hold the images of all inputs in memory.
  return ScoredCandidate(copy.copy(values[place]), float(scores[place]))


def filter_pair(pair: Pair, least_win: float, least_margin: float) -> Pair:
  """Marks a pair as dropped if its winner is weak or not better than its loser.

  Args:
    pair: from `choose_pair`.
    least_win: the winner must score more than this; a winner with exactly this
      score is dropped.
    least_margin: the winner must score more than the loser by more than this; a
      pair with exactly this difference is dropped.

  Returns:
    The pair, with `dropped` set to the reason or ''.

  >>> pair = Pair(ScoredCandidate('a ring', 0.5), ScoredCandidate('a cup', 0.2))
  >>> filter_pair(pair, least_win=0.6, least_margin=0.0).dropped
  'winner too weak'
  >>> filter_pair(pair, least_win=0.0, least_margin=0.0).dropped
  ''
  """
  if pair.win.score <= least_win:
    reason = 'winner too weak'
  elif pair.win.score <= pair.lose.score:
    reason = 'no difference'
  elif pair.win.score - pair.lose.score <= least_margin:
    reason = 'difference too small'
  elif np.array_equal(pair.win.value, pair.lose.value):
    reason = 'same content'
  else:
    reason = ''
  return dataclasses.replace(pair, dropped=reason)


def is_trainable(caption_dropped: str, image_dropped: str, both: bool) -> bool:
  """Returns whether an input is used for training.

  Args:
    caption_dropped: reason why its caption pair is dropped, '' if kept.
    image_dropped: the same for its image pair.
    both: True: both pairs must be kept; False: at least one pair.
  """
  if both:
    return not caption_dropped and not image_dropped
  return not caption_dropped or not image_dropped


def select_pairs(
  candidates: candidate_generation.Candidates,
  ids: Sequence[str],
  rules: PairRules,
  previous: Mapping[str, tuple[Pair, Pair]],
) -> Mapping[str, tuple[Pair, Pair]]:
  """Chooses and filters a round's pairs.

  Args:
    candidates: captions and images for N inputs, with scores.
    ids: N input ids.
    rules: thresholds for images. A caption pair only needs a winner that scores
      higher than the loser and differs from it.
    previous: the result in the round before, by id; {} in the first round.

  Returns:
    (caption pair, image pair) by id, dropped pairs included. Many lie in a
    file, see `disk_objects`.
  """

  def select(n, name):
    previous_caption, previous_image = previous.get(name, (None, None))
    caption = choose_pair(
      candidates.captions[n], candidates.caption_scores[n], previous_caption
    )
    image = choose_pair(
      candidates.codes[n], candidates.image_scores[n], previous_image
    )
    return (
      # Caption scores lie above -1, so -1 disables the threshold.
      filter_pair(caption, least_win=-1.0, least_margin=0.0),
      filter_pair(image, rules.least_image_score, rules.least_margin),
    )

  return disk_names.keep_by_name(
    (name, select(n, name)) for n, name in enumerate(ids)
  )
