"""JSON from strangers: no NaN, no key twice, no nesting without end."""

import json
import pathlib

MOST_BYTES = 100_000_000


def parse(text: str | bytes):
  """Returns the value that a text holds.

  Args:
    text: UTF-8.

  Raises:
    ValueError: it is not JSON, has a key twice or NaN, or is nested too deep.
  """
  try:
    return json.loads(
        text, object_pairs_hook=_once, parse_constant=_no_constant
    )
  except RecursionError as error:
    raise ValueError('it is nested too deep') from error


def loads(text: str | bytes, name: str) -> dict:
  """Returns the object that a text holds.

  Args:
    text: UTF-8.
    name: how the text is called in messages.

  Raises:
    ValueError: see `parse`; or it is not an object.
  """
  try:
    found = parse(text)
  except ValueError as error:
    raise ValueError(f'{name}: {error}') from error
  if not isinstance(found, dict):
    raise ValueError(f'{name} holds no JSON object')
  return found


def load(path: pathlib.Path) -> dict:
  """Reads a file; see `loads`.

  Raises:
    ValueError: also when it cannot be read or is too long.
  """
  try:
    if path.stat().st_size > MOST_BYTES:
      raise ValueError(f'{path} is longer than {MOST_BYTES} bytes')
    return loads(path.read_bytes(), str(path))
  except OSError as error:
    raise ValueError(f'{path} cannot be read: {error.strerror}') from error


def _once(pairs):
  found = dict(pairs)
  if len(found) < len(pairs):
    keys = [k for k, _ in pairs]
    twice = sorted({k for k in keys if keys.count(k) > 1}) if (
        len(keys) < 10_000) else ['...']
    raise ValueError('key twice: ' + ', '.join(map(repr, twice)))
  return found


def _no_constant(text):
  raise ValueError(f'{text} is not JSON')
