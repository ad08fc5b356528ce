"""Counts over the records of a data set, in memory of their ids alone."""

import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import typing

from hermesflow_jax.data import input_faults
from hermesflow_jax.data.sources import inspection
from hermesflow_jax.runtime import disk_arrays

# Faults of each kind that a summary names.
_NAMED = 10
# Captions that are tokenized together.
_GROUP = 256
# Sizes of images and types of questions that a summary names.
_MOST_FREQUENT = 20
# Kind of the faults of questions that are left out while their record stays.
_DROPPED = 'questions that are left out'


class Tokenizer(typing.Protocol):
  """Text tokenizer, e.g. a `text_tokenizer.TextTokenizer`."""

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of each text."""

  def unknown_words(self, texts: Sequence[str]) -> list[str]:
    """Returns the words of texts that have no token of their own."""


class Summary:
  """Counts of a data set, record by record.

  Args:
    text: tokenizer of the captions.
    caption_tokens: longest caption in tokens, with its first and last token.
    pixels: side of the images that a model reads.
    renumbers: whether a repeated id is no fault, as in LLaVA's files.
  """

  def __init__(
    self, text: Tokenizer, caption_tokens: int, pixels: int, renumbers: bool
  ):
    self._text, self._renumbers = text, renumbers
    self._space, self._pixels = caption_tokens - 2, pixels
    self.records = self.text_only = self.small = 0
    self.with_questions = self.questions = self.turns = self.conversations = 0
    self.faulty = self.question_faults = self.unmatched = 0
    self.first_faults = []
    self.faults = collections.defaultdict(list)
    self.fault_counts = collections.Counter()
    self.tokens, self.sizes = collections.Counter(), collections.Counter()
    self.types, self.unknown = collections.Counter(), {}
    self.odd = {}
    # Positions of the records that can be used.
    self.valid = disk_arrays.Integers()
    # Whether a record of an id can be used.
    self._ids, self._captions = {}, []

  def add(self, facts: inspection.Facts) -> None:
    """Counts a record.

    Args:
      facts: facts about it.
    """
    self.records += 1
    faults = list(facts.faults)
    example = facts.example
    if example:
      name = example['id']
      if self._ids.get(name) and not self._renumbers:
        faults.append(('duplicate id', f'duplicate id {name!r}'))
      self._ids[name] = self._ids.get(name, False) or not faults
    self.odd |= dict.fromkeys(facts.odd)
    self._name(facts.place, [(_DROPPED, text) for text in facts.dropped])
    if faults:
      self._add_faults(facts.place, faults)
      return
    self.valid.append(facts.number)
    self._captions.append(example['caption'])
    if len(self._captions) == _GROUP:
      self._count_tokens()
    if facts.size is None:
      self.text_only += 1
    else:
      self.sizes[facts.size] += 1
      self.small += min(facts.size) < self._pixels
    questions = example['questions']
    self.with_questions += bool(questions)
    self.questions += len(questions)
    self.types.update(question['element_type'] for question in questions)
    self.conversations += 'turns' in example
    self.turns += len(example.get('turns', ()))

  def add_questions(self, faults: Sequence[str], ids: Iterable[str]) -> None:
    """Counts questions of a file that belong to no record, after all records.

    Args:
      faults: faults of questions without an id.
      ids: ids of records that have questions.
    """
    self.question_faults += len(faults)
    self.first_faults = [*faults, *self.first_faults][:_NAMED]
    if faults:
      self.fault_counts['questions without an id'] += len(faults)
      self.faults['questions without an id'] = list(faults[:_NAMED])
    self.unmatched = sum(name not in self._ids for name in ids)

  def _add_faults(self, place, faults):
    self.faulty += 1
    text = f'{place}: ' + '; '.join(text for _, text in faults)
    if len(self.first_faults) < _NAMED:
      self.first_faults.append(text)
    self._name(place, faults)

  def _name(self, place, faults):
    """Counts faults by kind, and keeps the first of each kind."""
    for kind, text in faults:
      self.fault_counts[kind] += 1
      if len(self.faults[kind]) < _NAMED:
        self.faults[kind].append(f'{place}: {text}')

  def _count_tokens(self):
    rows = self._text.encode(self._captions)
    self.tokens.update(map(len, rows))
    if len(self.unknown) < _MOST_FREQUENT:
      words = self._text.unknown_words(self._captions)
      self.unknown |= dict.fromkeys(words)
    self._captions = []

  def raise_if_unusable(self, on_error: str, origin: str) -> None:
    """Raises the faults if they end a run.

    Args:
      on_error: 'raise', or 'skip' if only a set without any example is refused.
      origin: name of the data set.

    Raises:
      ValueError: one line with the first faults and the number of others.
    """
    count = self.faulty + self.question_faults
    if self.valid and (on_error == 'skip' or not count):
      return
    faults = self.first_faults or ['there is no record']
    more = count - len(self.first_faults)
    try:
      input_faults.raise_if_any(faults, f'{origin}: ')
    except ValueError as error:
      text = f'{error}; and {more} more' if more > 0 else str(error)
      if self.valid:
        text += '; --config.files.on_error=skip leaves them out'
      raise ValueError(text) from error

  def to_json_types(self) -> dict:
    """Returns the counts as JSON types."""
    self._count_tokens()
    lengths = list(_sorted_values(self.tokens))
    widths, heights = (collections.Counter() for _ in range(2))
    for (width, height), count in self.sizes.items():
      widths[width] += count
      heights[height] += count
    return {
      'records': self.records,
      'examples': len(self.valid),
      'faulty': self.faulty,
      'faults': {
        kind: {'count': count, 'first': self.faults[kind]}
        for kind, count in self.fault_counts.most_common()
      },
      'odd_characters': list(self.odd),
      'captions': {
        'tokens': _spread(self.tokens),
        'counts': [list(item) for item in lengths],
        'longest': self._space,
        'cut': sum(n for length, n in lengths if length > self._space),
        'unknown_words': list(self.unknown)[:_MOST_FREQUENT],
      },
      'images': {
        'count': self.sizes.total(),
        'width': _spread(widths),
        'height': _spread(heights),
        'smaller_than': self._pixels,
        'smaller': self.small,
        'most_frequent': [
          [*size, count]
          for size, count in self.sizes.most_common(_MOST_FREQUENT)
        ],
      },
      'text_only': self.text_only,
      'questions': {
        'examples': self.with_questions,
        'count': self.questions,
        'types': dict(self.types.most_common()),
        'ids_without_record': self.unmatched,
        'left_out': self.fault_counts[_DROPPED],
      },
      'conversations': {'examples': self.conversations, 'turns': self.turns},
    }


def _sorted_values(counts: Mapping) -> Iterator[tuple[int, int]]:
  """Yields (value, count), the smallest value first."""
  yield from sorted(counts.items())


def _spread(counts: Mapping[int, int]) -> dict[str, int]:
  """Returns smallest, median, 95th percentile and largest of counted values."""
  total, seen, out = sum(counts.values()), 0, {}
  marks = {'least': 0.0, 'median': 0.5, 'percentile_95': 0.95, 'most': 1.0}
  for value, count in _sorted_values(counts):
    seen += count
    for name, share in marks.items():
      if name not in out and seen >= max(1, share * total):
        out[name] = value
  return out
