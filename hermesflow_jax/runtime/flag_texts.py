"""Texts from a command line, read as the types of settings.

A list is written in three ways:

  --config.prompts="('a red ring',)"           Python
  --config.prompts='["a red ring", "a dog"]'   JSON
  --config.choices=yes,no                      commas, without spaces

A text without a comma is a list of that text alone. A repeated flag adds to
the list.
"""

import ast
import dataclasses
import json
import typing

from hermesflow_jax.runtime import type_hints

_BOOLEANS = {'true': True, '1': True, 'false': False, '0': False}
_NONE = ('None', 'none', 'null')


@dataclasses.dataclass(frozen=True)
class FlagText:
  """The value of a flag before its type is known.

  Attributes:
    texts: the text; several for a repeated flag.
  """

  texts: tuple[str, ...]


def is_none(text: str) -> bool:
  """Returns whether a text stands for None."""
  return text.strip() in _NONE


def read(hint, value: FlagText, name: str):
  """Returns the value of a setting, whose bounds are not checked yet.

  Args:
    hint: annotation of the setting.
    value: its text.
    name: name of the setting, for errors.

  Raises:
    ValueError: the text does not have the type; names the right form.
  """
  hint, _ = type_hints.split_annotation(hint)
  if inner := type_hints.optional_type(hint):
    if is_none(value.texts[-1]):
      return None
    return read(inner, value, name)
  if element := type_hints.element_type(hint):
    kind, _ = type_hints.split_annotation(element)
    return tuple(
      item for text in value.texts for item in _list(kind, text, name)
    )
  return _single(hint, value.texts[-1], name)


def literal(text: str):
  """Returns the value of a Python or JSON expression.

  Args:
    text: e.g. "('a', 'b')", '["a", true]' or '{"a": 1}'.

  Raises:
    ValueError: the text is neither.
  """
  try:
    return ast.literal_eval(text.strip())
  except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
    return json.loads(text)


def _single(hint, text, name):
  """Returns a text as a scalar or a mapping."""
  if hint is str:
    return text
  if dataclasses.is_dataclass(hint) or hint is dict:
    value = _literal_or_none(text)
    if isinstance(value, dict):
      return value
    example = "'{" + ', '.join(_example_fields(hint)) + "}'"
    raise ValueError(
      f'{name} must be a mapping, got {text!r}; write --{name}={example}'
    )
  if hint is bool:
    if text.strip().lower() in _BOOLEANS:
      return _BOOLEANS[text.strip().lower()]
    raise ValueError(f'{name} must be true or false, got {text!r}')
  try:
    return hint(text)
  except ValueError as error:
    raise ValueError(f'{name} must be {hint.__name__}, got {text!r}') from error


def _example_fields(hint):
  """Returns '"<field>": ...' of the first fields of a dataclass."""
  if hint is dict:
    return ['"<key>": <value>']
  fields = dataclasses.fields(hint)
  return [f'"{field.name}": ...' for field in fields[:3]]


def _literal_or_none(text):
  try:
    return literal(text)
  except ValueError:
    return None


def _list(kind, text, name):
  """Returns the elements that a text lists.

  Args:
    kind: type of an element.
    text: text of a flag.
    name: name of the setting.
  """
  text = text.strip()
  if not text:
    return ()
  value = _literal_or_none(text)
  if kind is str:
    return _texts(text, value, name)
  if isinstance(value, (list, tuple)):
    return value
  if value is not None:
    return (value,)
  if kind is bool:
    return [_single(bool, part, name) for part in text.strip('()[]').split(',')]
  if kind in (int, float):
    example = f'--{name}=1,2'
  else:
    example = f"--{name}='[{{{', '.join(_example_fields(kind))}}}]'"
  raise ValueError(f'{name} must be a list, got {text!r}; write {example}')


def _texts(text, value, name):
  """Returns the texts that a text lists.

  Args:
    text: text of a flag.
    value: the same as a Python or JSON expression, or None.
    name: name of the setting.
  """
  if isinstance(value, (list, tuple)) and all(
    isinstance(item, str) for item in value
  ):
    return value
  if isinstance(value, str):
    return (value,)
  inside = text
  if text[0] + text[-1] in ('()', '[]'):
    if isinstance(value, (list, tuple)):
      return value  # The type of its elements is checked later.
    inside = text[1:-1]
  # E.g. ['a red ring' or ("a", whose last bracket is missing.
  unclosed = text[:2] in ("['", '["', "('", '("') and not set(text) & set(')]')
  if ',' not in inside and not unclosed:
    # E.g. a file pattern like [ab]*.png, which is no list.
    return (text,)
  parts = inside.split(',')
  # A shell may have taken the quotes of ('a b',) away, but not one of a pair.
  if inside is not text and not set(inside) & {'"', "'"}:
    return [part.strip() for part in parts if part.strip()]
  if ', ' in text or set(text) & {'"', "'"} or not all(parts):
    raise ValueError(
      f'{name} must be a list of texts, got {text!r}; quote each text, '
      f"as in --{name}='{_json_example(text)}'"
    )
  return parts


def _json_example(text: str) -> str:
  """Returns the texts between commas as a JSON list."""
  parts = [part.strip(' \'"()[]') for part in text.split(',')]
  return json.dumps([part for part in parts if part], ensure_ascii=False)


def hint_at(kind: type, path: typing.Sequence):
  """Returns the annotation of a nested setting; None if there is no such.

  Args:
    kind: dataclass of settings.
    path: field names, new or old, and indices into lists.
  """
  hint = kind
  for part in path:
    hint, _ = type_hints.split_annotation(hint)
    hint = type_hints.optional_type(hint) or hint
    if isinstance(part, int):
      hint = type_hints.element_type(hint)
    elif dataclasses.is_dataclass(hint):
      part = type_hints.new_names(hint).get(part, part)
      hint = type_hints.hints(hint).get(part)
    else:
      return None
    if hint is None:
      return None
    hint, _ = type_hints.split_annotation(hint)
  return hint
