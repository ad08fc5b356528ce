"""Generates questions about a picture from its caption.

Records have TIFA form (arXiv 2303.11897): {id, caption, element, question,
choices, answer, element_type}; the questions of a caption share its id. Every
answer is a single word, and no question is a yes-no question. The choices
'none' and 'zero' are never right, so a blank image scores 0. 'the' requires a
unique object: with a second such object the judge answers 'none'.

Baseline scores (mean share of right answers over 1,000 held-out scenes),
by `pytest -s tests/shapes/test_caption_questions.py -k floor`:

  blank image                          0.000
  picture of another random scene      0.065 +- 0.005

Most right answers of the second row are counts, because two random scenes often
have equally many rings.
"""

from collections.abc import Iterable
import re
from typing import Any
from typing import NamedTuple

from hermesflow_jax.shapes import shape_world

ELEMENT_TYPES = ('object', 'counting', 'color', 'spatial', 'attribute')
# The count of more than four objects; no caption has it.
MANY = 'many'
ABSENT = ('none', 'zero')

# The vocabulary of captions, questions and right answers for a word-level
# tokenizer: lower-case words, '?' and ','.
WORDS = shape_world.WORDS

_NONE = ('none',)
_CHOICES = {
  'count': shape_world.NUMBERS,
  'shape': shape_world.SHAPES + _NONE,
  'color': tuple(shape_world.COLORS) + _NONE,
  'size': tuple(shape_world.SIZES) + _NONE,
  'where': ('left', 'right', 'above', 'below') + _NONE,
}
_SINGULAR = {shape_world.plural(shape): shape for shape in shape_world.SHAPES}

# The forms of a question. Groups match descriptions: words of size, color and
# shape, or 'object' for any shape.
_FORMS = {
  'count': re.compile(r'how many (.+) are there \?'),
  'same': re.compile(r'what shape are the objects \?'),
  'with': re.compile(r'what is with the (.+) \?'),
  'where': re.compile(r'where is the (.+) relative to the (.+) \?'),
  'the': re.compile(r'what (shape|color|size) is the (.+) \?'),
}


class Group(NamedTuple):
  """Objects that a caption names together, e.g. 'two red rings'."""

  count: int
  shape: str
  color: str | None
  size: str | None


def attributes_of_words(words: Iterable[str]) -> dict[str, str]:
  """Returns the attributes that words describe: attribute -> value.

  Args:
    words: size, color and shape words, singular or plural.

  Raises:
    ValueError: a word is no size, color or shape word.
  """
  attributes = {}
  for word in words:
    word = _SINGULAR.get(word, word)
    if word in shape_world.SHAPES:
      attributes['shape'] = word
    elif word in shape_world.COLORS:
      attributes['color'] = word
    elif word in shape_world.SIZES:
      attributes['size'] = word
    elif word not in ('object', 'objects'):
      raise ValueError(f'{word!r} is no word of size, color or shape')
  return attributes


def parse_caption(caption: str) -> tuple[list[Group], str | None]:
  """Parses a caption.

  Args:
    caption: scene caption.

  Returns:
    (groups, relation between the two objects or None).

  Raises:
    ValueError: the caption does not follow the grammar of shapes.
  """
  relation = None
  for name in shape_world.RELATIONS:
    if f' {name} ' in caption:
      relation = name
      caption = caption.replace(f' {name} ', ' and ')
  groups = []
  for part in re.split(r' and | , ', caption):
    first, *words = part.split(' ')
    if first not in ('a', 'an', *shape_world.NUMBERS):
      raise ValueError(f'caption part {part!r} must begin with a number word')
    count = (
      shape_world.NUMBERS.index(first) if first in shape_world.NUMBERS else 1
    )
    attributes = attributes_of_words(words)
    if 'shape' not in attributes:
      raise ValueError(f'caption part {part!r} names no shape')
    groups.append(
      Group(
        count,
        attributes['shape'],
        attributes.get('color'),
        attributes.get('size'),
      )
    )
  return groups, relation


def _questions(groups: list[Group], relation: str | None) -> list[tuple]:
  """Returns tuples (element, question, form, answer, element_type)."""
  total = sum(group.count for group in groups)
  if total >= len(shape_world.NUMBERS):
    raise ValueError(
      f'a caption must have at most {len(shape_world.NUMBERS) - 1} objects, '
      f'got {total}'
    )
  number = shape_world.NUMBERS[total]
  counted = total > len(groups)
  questions = []

  def ask(element, question, form, answer, element_type):
    questions.append((element, question, form, answer, element_type))

  for group in groups:
    shape, color, size = group.shape, group.color, group.size
    many, amount = shape_world.plural(shape), shape_world.NUMBERS[group.count]
    if counted:
      named = f'{color} {many}' if color else many
      ask(
        f'{amount} {many if group.count > 1 else shape}',
        f'how many {named} are there ?',
        'count',
        amount,
        'counting',
      )
      if color:
        question = f'how many {color} objects are there ?'
        ask(color, question, 'count', amount, 'color')
      continue
    if color:
      ask(color, f'what color is the {shape} ?', 'color', color, 'color')
    if color and len(groups) < 3:
      question = f'what shape is the {color} object ?'
      ask(f'{color} {shape}', question, 'shape', shape, 'attribute')
    if size:
      named = f'{color} {shape}' if color else shape
      ask(size, f'what size is the {named} ?', 'size', size, 'attribute')
    if size and not color:
      question = f'what shape is the {size} object ?'
      ask(f'{size} {shape}', question, 'shape', shape, 'attribute')
    if total == 1:
      ask(shape, 'what shape is the object ?', 'shape', shape, 'object')
      if not color and not size:
        question = f'how many {many} are there ?'
        ask(shape, question, 'count', amount, 'counting')
  if len(groups) == 2 and not counted:
    # 'with' also detects a third object. A question for the number of all
    # objects would be right for every second picture.
    for this, other in (groups, groups[::-1])[: 1 if groups[0].color else 2]:
      question = f'what is with the {this.shape} ?'
      ask(other.shape, question, 'shape', other.shape, 'object')
  if relation:
    a, b = (group.shape for group in groups)
    question = f'where is the {a} relative to the {b} ?'
    ask(relation, question, 'where', relation.split()[0], 'spatial')
  if counted and len(groups) == 1:
    question = 'what shape are the objects ?'
    ask(groups[0].shape, question, 'shape', groups[0].shape, 'object')
  if len(groups) == 2 and not counted and not relation and not groups[0].color:
    for group in groups:
      question = f'how many {shape_world.plural(group.shape)} are there ?'
      ask(group.shape, question, 'count', 'one', 'counting')
  if total > 2:
    question = 'how many objects are there ?'
    ask(f'{number} objects', question, 'count', number, 'counting')
  return questions


def questions_of_caption(scene_id: str, caption: str) -> list[dict[str, Any]]:
  """Returns 2 to 5 questions about a caption, TIFA records.

  Args:
    scene_id: id for every record.
    caption: caption in the grammar of shapes.

  Raises:
    ValueError: the caption does not follow the grammar, or it has more objects
      than a scene.
  """
  return [
    {
      'id': scene_id,
      'caption': caption,
      'element': element,
      'question': question,
      'choices': list(_CHOICES[form]),
      'answer': right,
      'element_type': element_type,
    }
    for element, question, form, right, element_type in _questions(
      *parse_caption(caption)
    )
  ]


def parse_question(question: str) -> tuple[str, re.Match]:
  """Parses a question.

  Args:
    question: text.

  Returns:
    (form, match whose groups are the descriptions).

  Raises:
    ValueError: the question has no known form.
  """
  for form, pattern in _FORMS.items():
    match = pattern.fullmatch(question)
    if match:
      return form, match
  raise ValueError(f'question {question!r} has no known form')
