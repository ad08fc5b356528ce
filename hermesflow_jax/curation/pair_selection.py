"""Homologous preference data: the model's own captions, images and scores.

HermesFlow (arXiv 2502.12148), section 3.2. For one (image, caption) input the
model writes captions of the image and draws images of the caption. Captions
are scored against the true one, images by the model's own answers to the
caption's questions. The best is the winner, the worst the loser. No judge, no
ground truth of the world is used here.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class PairRules:
  """What makes a pair.

  Attributes:
    least_win: a winning image must score more than this.
    least_margin: a winner must beat its loser by more than this.
    both: only inputs with both pairs are trained on.
  """

  least_win: settings.Fraction = 0.6
  least_margin: settings.Fraction = 0.0
  both: bool = False

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True)
class ScoredCandidate:
  """One candidate: a caption (str) or codes (int32[I]), and its score."""

  value: object
  score: float


@dataclasses.dataclass(frozen=True)
class Pair:
  """A winner and a loser of one input, or why there is none.

  Attributes:
    win, lose: the two sides; kept also when dropped, for the next round.
    dropped: '' for a pair to train on, else the reason.
  """

  win: ScoredCandidate
  lose: ScoredCandidate
  dropped: str = ''


def choose_pair(values, scores: np.ndarray, previous: Pair | None) -> Pair:
  """Returns the best and the worst candidate, by the paper's rule of rounds.

  From the second round on the best new candidate is the winner; if it beats
  the previous winner, that one becomes the loser, else the previous loser
  stays.

  Args:
    values: M candidates.
    scores: float[M]; of equal scores the first counts.
    previous: the pair of the round before, if any.
  """
  best, worst = int(np.argmax(scores)), int(np.argmin(scores))
  win = ScoredCandidate(values[best], float(scores[best]))
  if previous is None:
    return Pair(win, ScoredCandidate(values[worst], float(scores[worst])))
  beaten = win.score > previous.win.score
  return Pair(win, previous.win if beaten else previous.lose)


def filter_pair(pair: Pair, least_win: float, least_margin: float) -> Pair:
  """Returns the pair, marked as dropped if it cannot teach."""
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


def select_pairs(
  found: candidate_generation.Candidates,
  ids: Sequence[str],
  rules: PairRules,
  previous: dict[str, tuple[Pair, Pair]],
) -> dict[str, tuple[Pair, Pair]]:
  """Returns (caption pair, image pair) of each input, by id.

  Args:
    found: of N inputs.
    ids: their names.
    rules: what makes a pair of images; a pair of captions has no least score.
    previous: the result of the round before, {} in the first.
  """
  out = {}
  for n, name in enumerate(ids):
    before = previous.get(name, (None, None))
    caption = choose_pair(found.captions[n], found.caption_scores[n], before[0])
    image = choose_pair(found.codes[n], found.image_scores[n], before[1])
    out[name] = (
      filter_pair(caption, -1.0, 0.0),
      filter_pair(image, rules.least_win, rules.least_margin),
    )
  return out
