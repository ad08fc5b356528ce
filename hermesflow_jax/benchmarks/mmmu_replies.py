"""Replies to MMMU's questions, parsed as its own script does.

Rules of MMMU-Benchmark/MMMU. A reply to a question with options that names none
gets a random option; the script draws these from one generator with seed 42, in
the order of its subjects, and so do we.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import random
import re

SEED = 42
_OUTER_MARKS = (',', '.', '!', '?', ';', ':', "'")
_TRIVIAL = (':', ',', '.', '!', '?', ';', "'")
# Words behind which a sentence has its answer.
_INDICATORS = (
  'could be ',
  'so ',
  'is ',
  'thus ',
  'therefore ',
  'final ',
  'answer ',
  'result ',
)
_SENTENCES = re.compile(r'\.\s(?=[A-Z])|\n')
_NUMBERS = (
  re.compile(r'-?\b\d{1,3}(?:,\d{3})+\b'),
  re.compile(r'-?\d+(?:\.\d+)?[eE][+-]?\d+'),
  re.compile(r'-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])'),
)


def choice(
  reply: str, options: Mapping[str, str], generator: random.Random
) -> tuple[str, bool]:
  """Returns the option that a reply names, and whether it was drawn at random.

  In this order: '(A)', ' A ', and the text of an option in a reply of more than
  five words. Of several the last counts.

  Args:
    reply: text of the model.
    options: text by letter.
    generator: draws an option for a reply that names none.
  """
  for mark in _OUTER_MARKS:
    reply = reply.strip(mark)
  text = f' {reply} '
  lower = text.lower()
  places = {x: text.rfind(f'({x})') for x in options}
  if max(places.values()) < 0:
    places = {x: text.rfind(f' {x} ') for x in options}
  if max(places.values()) < 0 and len(text.split()) > 5:
    places = {x: lower.rfind(option.lower()) for x, option in options.items()}
  if max(places.values()) < 0:
    return generator.choice(list(options)), True
  return max(places, key=places.get), False


def values(reply: str) -> set[str | float]:
  """Returns the texts and numbers of a reply to an open question.

  Args:
    reply: text of the model.
  """
  parts = _key_parts(reply)
  texts = parts + [
    number
    for part in parts
    for form in _NUMBERS
    for number in form.findall(part)
  ]
  return {value for text in texts for value in normalize(text)}


def normalize(text: str) -> list[str | float]:
  """Returns a text in the forms that are compared.

  Args:
    text: an answer, or a part of a reply.

  Returns:
    A number rounded to two decimals; or the text in lower case, a single
    letter with a space before and behind it.
  """
  text = text.strip()
  try:
    return [round(float(text.replace(',', '')), 2)]
  except ValueError:
    text = text.lower()
  return [f' {text}', f'{text} '] if len(text) == 1 else [text]


def is_right(parsed: set[str | float], answers: Sequence[str]) -> bool:
  """Returns whether a text holds an answer, or a number equals one.

  Args:
    parsed: from `values`.
    answers: right answers.
  """
  right = [value for answer in answers for value in normalize(answer)]
  texts = [value for value in right if isinstance(value, str)]
  return any(
    any(answer in value for answer in texts)
    if isinstance(value, str)
    else value in right
    for value in parsed
  )


def _key_parts(reply) -> list[str]:
  """Returns the ends of sentences behind an indicator; the reply for none."""
  reply = reply.strip().strip('.').lower()
  sentences = _SENTENCES.split(reply)
  parts = []
  for number, sentence in enumerate(sentences):
    indicators = _INDICATORS
    if number == len(sentences) - 1:
      indicators += ('=',)
    ends = [
      sentence.split(indicator)[-1].strip()
      for indicator in indicators
      if indicator in sentence
    ]
    shortest = ''
    for end in ends:
      # An empty end is replaced by the next, whatever its length.
      if not shortest or len(end) < len(shortest):
        shortest = end
    if shortest and shortest not in _TRIVIAL:
      parts.append(shortest)
  return parts or [reply]
