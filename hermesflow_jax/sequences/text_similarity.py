"""How much a caption says the same as another, without any weights."""

import collections
from collections.abc import Sequence
import math
import re
from typing import Protocol

import numpy as np

# Longest word sequence that is compared.
ORDER = 2


class Scorer(Protocol):
  """Scores candidates against references, e.g. by a text encoder."""

  def __call__(
    self, candidates: Sequence[str], references: Sequence[str]
  ) -> np.ndarray:
    """Returns float[N], higher where candidate n is closer to reference n."""


class Matcher(Protocol):
  """Finds the choice that a free reply means, e.g. by a text encoder."""

  def __call__(
    self, replies: Sequence[str], choices: Sequence[Sequence[str]]
  ) -> list[int | None]:
    """Returns the number of the choice nearest to each reply.

    Args:
      replies: N texts.
      choices: the choices of the question of each.

    Returns:
      N numbers; None where a reply is like no choice.
    """


# Letters of a word that are compared.
LETTERS = 3
_NUMBERS = {
  word: str(number)
  for number, word in enumerate(
    'zero one two three four five six seven eight nine ten eleven twelve '
    'thirteen fourteen fifteen sixteen seventeen eighteen nineteen '
    'twenty'.split()
  )
}


def nearest_choices(
  replies: Sequence[str], choices: Sequence[Sequence[str]]
) -> list[int | None]:
  """Matches replies by the letters of their words: a Matcher without weights.

  Numbers are compared as digits, words by the runs of two and three letters
  that they share, so 'two' is '2', and 'dogs' near 'dog'. It knows no synonyms;
  the official code compares embeddings of all-mpnet-base-v2.
  """
  best = []
  for reply, each in zip(replies, choices, strict=True):
    words, letters = _words(reply), _letters(reply)
    scores = [
      2.0 if words == _words(choice) else _cosine(letters, _letters(choice))
      for choice in each
    ]
    most = max(scores)
    best.append(scores.index(most) if most > 0 else None)
  return best


def _letters(text: str) -> collections.Counter:
  """Counts the runs of letters of each word, with the borders of the word."""
  counts = collections.Counter()
  for word in _words(text):
    word = f' {_NUMBERS.get(word, word)} '
    for size in range(2, LETTERS + 1):
      counts.update(word[i : i + size] for i in range(len(word) - size + 1))
  return counts


def _words(text: str) -> list[str]:
  """Returns the words of a text, without case and punctuation."""
  return re.findall(r'\w+', text.lower())


def _cosine(a: collections.Counter, b: collections.Counter) -> float:
  """Returns the cosine of two count vectors, 0 where one is zero."""
  product = sum(count * b[gram] for gram, count in a.items())
  squares = sum(n * n for n in a.values()) * sum(n * n for n in b.values())
  return product / math.sqrt(squares) if squares else 0.0


def ngram_cosine(candidate: str, reference: str) -> float:
  """Returns the mean cosine of the 1-gram and 2-gram counts of two texts.

  The 2-grams include the borders of a text, so a text of one word has them
  too, and its first word differs from its last.

  Returns:
    0 to 1: 1 for texts that are equal up to case, space and punctuation, 0 for
    texts without a common word. Never 1 for other texts.
  """
  first, second = _words(candidate), _words(reference)
  if first == second:
    return 1.0
  total = 0.0
  for order in range(1, ORDER + 1):
    border = [None] * (order - 1)
    grams = [
      collections.Counter(zip(*(row[i:] for i in range(order)), strict=False))
      for row in (border + words + border for words in (first, second))
    ]
    total += _cosine(*grams)
  # Equal counts in another order must stay below equality.
  return min(total / ORDER, math.nextafter(1.0, 0.0))


def ngram_cosines(
  candidates: Sequence[str], references: Sequence[str]
) -> np.ndarray:
  """Returns float64[N], the ngram_cosine of each candidate: a Scorer.

  Raises:
    ValueError: the numbers of candidates and references differ.
  """
  if len(candidates) != len(references):
    raise ValueError(
      f'{len(candidates)} candidates for {len(references)} references'
    )
  pairs = zip(candidates, references, strict=True)
  return np.array([ngram_cosine(*pair) for pair in pairs], np.float64)


# Scorers by the name that the setting `caption_scorer` gives. To use your own,
# write a function with the signature of `Scorer`, whose scores lie above -1, and
# add a line. The name is part of a run's identity: a run with another scorer
# needs another --workdir.
SCORERS: dict[str, Scorer] = {'ngram': ngram_cosines}


def get_scorer(name: str) -> Scorer:
  """Returns the caption scorer with this name.

  Args:
    name: key of SCORERS, as in the setting `caption_scorer`.

  Raises:
    ValueError: SCORERS has no such key.
  """
  if name not in SCORERS:
    raise ValueError(
      f'caption_scorer must be one of {", ".join(SCORERS)}, got {name!r}; '
      'add your own to SCORERS in sequences/text_similarity.py'
    )
  return SCORERS[name]
