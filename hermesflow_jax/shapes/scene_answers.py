"""Answers questions from a scene's objects."""

from collections.abc import Iterable
from typing import Any

from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import shape_world

UNSURE = 'unsure'


# Least distance of two centers along the axis of a relation, in pixels.
MIN_OFFSET = 10


def _fits(thing, attributes: dict[str, str]) -> bool | None:
  """Returns whether an object has these attributes; None if unsure."""
  unsure = False
  for attribute, value in attributes.items():
    actual = getattr(thing, attribute)
    if actual is None:
      unsure = True
    elif actual != value:
      return False
  return None if unsure else True


class _UnsureError(Exception):
  """The known attributes do not determine the answer."""


def _find(objects, words: str) -> list:
  """Returns the objects that fit a description.

  Raises:
    _UnsureError: unknown attributes decide whether an object fits.
  """
  attributes = caption_questions.attributes_of_words(words.split(' '))
  fits = [_fits(thing, attributes) for thing in objects]
  if None in fits:
    raise _UnsureError
  return [thing for thing, fit in zip(objects, fits, strict=True) if fit]


def _value(things: list, attribute: str) -> str:
  """Returns the attribute that all objects share, or 'none'."""
  values = {getattr(thing, attribute) for thing in things}
  if None in values:
    raise _UnsureError
  return values.pop() if len(values) == 1 else 'none'


def _where(first, second) -> str:
  """Returns the side of `second` on which `first` lies, or 'none'."""
  right, down = first.x - second.x, first.y - second.y
  if max(abs(right), abs(down)) < MIN_OFFSET or abs(right) == abs(down):
    return 'none'
  if abs(right) > abs(down):
    return 'right' if right > 0 else 'left'
  return 'below' if down > 0 else 'above'


def _answer(form: str, parts: tuple[str, ...], objects: list) -> str:
  """Returns the answer to a parsed question, or raises _UnsureError."""
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
    matches = [_find(objects, words) for words in parts]
    if any(len(things) != 1 for things in matches):
      return 'none'
    return _where(matches[0][0], matches[1][0])
  if form == 'with':
    matches = _find(objects, parts[0])
    if len(matches) != 1 or len(objects) != 2:
      return 'none'
    return _value([o for o in objects if o is not matches[0]], 'shape')
  attribute, words = parts
  matches = _find(objects, words)
  return _value(matches, attribute) if len(matches) == 1 else 'none'


def answer_question(question: str, objects: Iterable[Any]) -> str:
  """Returns the answer to a question about objects.

  Args:
    question: text.
    objects: objects with attributes shape, color, size (None if unsure) and x,
      y (center in pixels, y downwards).

  Returns:
    A choice of the question, 'many' for more than four objects, or 'unsure' if
    unknown attributes could change the answer.

  Raises:
    ValueError: the question has no known form.
  """
  form, match = caption_questions.parse_question(question)
  try:
    return _answer(form, match.groups(), list(objects))
  except _UnsureError:
    return UNSURE
