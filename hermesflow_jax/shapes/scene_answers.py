"""Answers to questions, from the objects of a scene."""

from collections.abc import Iterable
from typing import Any

from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import shape_world

UNSURE = 'unsure'


# Smallest distance of two centres along the wanted axis, in pixels.
MIN_OFFSET = 10


def _fits(thing, said: dict[str, str]) -> bool | None:
  """Returns whether a thing is as described; None where it might be."""
  unsure = False
  for attribute, value in said.items():
    found = getattr(thing, attribute)
    if found is None:
      unsure = True
    elif found != value:
      return False
  return None if unsure else True


class _Unsure(Exception):
  """What is seen does not settle the question."""


def _find(objects, words: str) -> list:
  """Returns the objects that fit a description.

  Raises:
    _Unsure: one might fit or not.
  """
  said = caption_questions.attributes_of_words(words.split(' '))
  fits = [_fits(thing, said) for thing in objects]
  if None in fits:
    raise _Unsure
  return [thing for thing, fit in zip(objects, fits, strict=True) if fit]


def _value(things: list, attribute: str) -> str:
  """Returns what things share, 'none' if nothing, or raises _Unsure."""
  values = {getattr(thing, attribute) for thing in things}
  if None in values:
    raise _Unsure
  return values.pop() if len(values) == 1 else 'none'


def _where(one, other) -> str:
  """Returns the side of `other` on which `one` lies."""
  right, down = one.x - other.x, one.y - other.y
  if max(abs(right), abs(down)) < MIN_OFFSET or abs(right) == abs(down):
    return 'none'
  if abs(right) > abs(down):
    return 'right' if right > 0 else 'left'
  return 'below' if down > 0 else 'above'


def _answer(form: str, parts: tuple[str, ...], objects: list) -> str:
  """Returns the answer to a parsed question, or raises _Unsure."""
  if form == 'count':
    count = len(_find(objects, parts[0]))
    return (
      shape_world.NUMBERS[count]
      if count < len(shape_world.NUMBERS)
      else caption_questions.MANY
    )
  if form == 'same':
    return _value(objects, 'shape') if len(objects) > 1 else 'none'
  if form == 'where':
    found = [_find(objects, words) for words in parts]
    if any(len(things) != 1 for things in found):
      return 'none'
    return _where(found[0][0], found[1][0])
  if form == 'with':
    found = _find(objects, parts[0])
    if len(found) != 1 or len(objects) != 2:
      return 'none'
    return _value([o for o in objects if o is not found[0]], 'shape')
  attribute, words = parts
  found = _find(objects, words)
  return _value(found, attribute) if len(found) == 1 else 'none'


def answer_question(question: str, objects: Iterable[Any]) -> str:
  """Returns the answer to a question about objects.

  Args:
    question: the text of a question.
    objects: with attributes shape, color, size (None: unsure of it) and x, y
      (centre in pixels, y downwards).

  Returns:
    One of the question's choices; 'many' for more than four; 'unsure' where an
    object that is not fully known might change the answer.

  Raises:
    ValueError: the question has none of the known forms.
  """
  form, match = caption_questions.parse_question(question)
  try:
    return _answer(form, match.groups(), list(objects))
  except _Unsure:
    return UNSURE
