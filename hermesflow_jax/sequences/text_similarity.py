"""Similarity of texts from n-gram counts, without a text encoder."""

import collections
from collections.abc import Sequence
import math
import re
from typing import Protocol

import numpy as np

# Longest n-gram of words that is compared.
ORDER = 2


class Scorer(Protocol):
  """Caption scorer: scores captions against true captions.

  Its scores must lie above -1, as a cosine does for any two captions that are
  not opposite: `pair_selection.select_pairs` drops a caption pair whose winner
  scores -1 or less.

  The first process calls a scorer in a thread, while the devices work. A scorer
  that computes on devices of JAX has an attribute `uses_devices`, which is
  True: all processes call it, with the same texts.

  A scorer that reads the images that the captions describe has an attribute
  `needs_images`, which is True. It gets a third argument, a
  `scored_images.ScoredImages`, and all processes call it.
  """

  def __call__(
    self, candidates: Sequence[str], references: Sequence[str]
  ) -> np.ndarray:
    """Scores N captions, each against its own reference.

    Args:
      candidates: N texts.
      references: N texts.

    Returns:
      float[N] above -1, higher for closer texts.
    """


class Matcher(Protocol):
  """Maps free replies to choices, e.g. with a text encoder."""

  def __call__(
    self, replies: Sequence[str], choices: Sequence[Sequence[str]]
  ) -> list[int | None]:
    """Finds the nearest choice for each reply.

    Args:
      replies: N texts.
      choices: N lists with choices.

    Returns:
      N choice indices; None where a reply resembles no choice.
    """


# Longest n-gram of letters that is compared.
LETTERS = 3
_NUMBER_WORDS = (
  'zero one two three four five six seven eight nine ten eleven twelve '
  'thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty'
)
_NUMBERS = {word: str(n) for n, word in enumerate(_NUMBER_WORDS.split())}


def nearest_choices(
  replies: Sequence[str], choices: Sequence[Sequence[str]]
) -> list[int | None]:
  """Matches replies to choices by n-grams of letters; a Matcher.

  Number words are compared as digits ('two' equals '2'), other words by their
  2-grams and 3-grams of letters ('dogs' is close to 'dog'). Synonyms are not
  recognized; the official code compares embeddings of all-mpnet-base-v2.

  Args:
    replies: N texts.
    choices: N lists with choices.

  Returns:
    N choice indices; None where a reply resembles no choice.

  >>> nearest_choices(['Two.', 'xyz'], [['one', '2'], ['dogs', 'cats']])
  [1, None]
  >>> nearest_choices(['dogs'], [['cat', 'dog', 'horse']])
  [1]
  """
  best = []
  for reply, names in zip(replies, choices, strict=True):
    words, letters = _words(reply), _letters(reply)
    scores = [
      2.0 if words == _words(choice) else _cosine(letters, _letters(choice))
      for choice in names
    ]
    most = max(scores)
    best.append(scores.index(most) if most > 0 else None)
  return best


def _letters(text: str) -> collections.Counter:
  """Counts the n-grams of letters in each word, including word borders."""
  counts = collections.Counter()
  for word in _words(text):
    word = f' {_NUMBERS.get(word, word)} '
    for size in range(2, LETTERS + 1):
      counts.update(word[i : i + size] for i in range(len(word) - size + 1))
  return counts


def _words(text: str) -> list[str]:
  """Splits a text into lower-case words without punctuation."""
  return re.findall(r'\w+', text.lower())


def _cosine(a: collections.Counter, b: collections.Counter) -> float:
  """Returns the cosine of two count vectors, 0 if either is empty."""
  product = sum(count * b[gram] for gram, count in a.items())
  squares = sum(n * n for n in a.values()) * sum(n * n for n in b.values())
  return product / math.sqrt(squares) if squares else 0.0


def ngram_cosine(candidate: str, reference: str) -> float:
  """Returns the mean cosine of the 1-gram and 2-gram counts of two texts.

  The 2-grams include the borders of a text. So a single word has 2-grams, too,
  and the first word of a text counts differently from its last.

  Args:
    candidate: a text.
    reference: another text.

  Returns:
    Similarity in [0, 1]: 0 if no word is shared, 1 only if the texts are equal
    up to case, spaces and punctuation.

  >>> ngram_cosine('Two red rings.', 'two red rings')
  1.0
  >>> round(ngram_cosine('a red ring', 'a blue ring'), 3)
  0.583
  >>> ngram_cosine('a ring', 'two cups')
  0.0
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
  """Scores candidates by `ngram_cosine`; a Scorer.

  Args:
    candidates: N texts.
    references: N texts.

  Returns:
    float64[N] in [0, 1].

  Raises:
    ValueError: the numbers of candidates and references differ.
  """
  if len(candidates) != len(references):
    raise ValueError(
      f'{len(candidates)} candidates for {len(references)} references'
    )
  pairs = zip(candidates, references, strict=True)
  return np.array([ngram_cosine(*pair) for pair in pairs], np.float64)


# Scorers that need no model, by the name that the setting `caption_scorer`
# gives; `scoring.caption_scorers` has the others. A function of the signature
# of `Scorer`, whose scores lie above -1, may be added. The name is part of a
# run's identity: a run with another scorer needs another --workdir.
SCORERS: dict[str, Scorer] = {'ngram': ngram_cosines}


def uses_devices(scorer: Scorer) -> bool:
  """Returns whether a scorer computes on devices; see `Scorer`."""
  return needs_images(scorer) or bool(getattr(scorer, 'uses_devices', False))


def needs_images(scorer: Scorer) -> bool:
  """Returns whether a scorer reads images; see `Scorer`."""
  return bool(getattr(scorer, 'needs_images', False))
