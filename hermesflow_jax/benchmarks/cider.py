"""CIDEr: n-gram similarity of captions with human captions (arXiv 1411.5726).

Equal to `pycocoevalcap` 1.2: CIDEr-D, whose length penalty compares the numbers
of bigrams.
"""

import collections
from collections.abc import Mapping
from collections.abc import Sequence
import math

import numpy as np

_LONGEST = 4
_SIGMA = 6.0
_SCALE = 10.0


def scores(
  candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]
) -> dict[str, float]:
  """Scores a caption for each image; the corpus score is the mean.

  Args:
    candidates: caption by id, as tokens with spaces between.
    references: human captions by id, in the same form. How rare a word is comes
      from these images alone.

  Returns:
    Score by id, from 0 to 10.
  """
  counted = {
    name: [_ngrams(t) for t in references[name]] for name in candidates
  }
  frequency = collections.Counter()
  for texts in counted.values():
    frequency.update(set().union(*texts))
  images = math.log(len(counted)) if counted else 0.0

  def vectors(ngrams):
    """Returns (weights by n-gram for each n, norms, number of bigrams)."""
    weights = [{} for _ in range(_LONGEST)]
    for ngram, count in ngrams.items():
      rarity = images - math.log(max(1.0, frequency[ngram]))
      weights[len(ngram) - 1][ngram] = count * rarity
    norms = [math.sqrt(sum(w * w for w in part.values())) for part in weights]
    bigrams = sum(n for ngram, n in ngrams.items() if len(ngram) == 2)
    return weights, norms, bigrams

  result = {}
  for name, text in candidates.items():
    own = vectors(_ngrams(text))
    similarities = [_similarity(own, vectors(ref)) for ref in counted[name]]
    result[name] = _SCALE * float(np.mean(similarities))
  return result


def _ngrams(text) -> collections.Counter:
  words = text.split()
  return collections.Counter(
    tuple(words[start : start + size])
    for size in range(1, _LONGEST + 1)
    for start in range(len(words) - size + 1)
  )


def _similarity(own, reference) -> float:
  """Returns the mean over n of the clipped cosine, with the length penalty."""
  values = []
  weights, norms, length = own
  other_weights, other_norms, other_length = reference
  penalty = math.exp(-((length - other_length) ** 2) / (2 * _SIGMA**2))
  for n in range(_LONGEST):
    theirs = other_weights[n]
    product = sum(
      min(weight, theirs.get(ngram, 0.0)) * theirs.get(ngram, 0.0)
      for ngram, weight in weights[n].items()
    )
    if norms[n] and other_norms[n]:
      product /= norms[n] * other_norms[n]
    values.append(product * penalty)
  return sum(values) / _LONGEST
