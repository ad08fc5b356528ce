"""Names of tar shards: braces as in a shell, wildcards, folders."""

from collections.abc import Sequence
import glob
import itertools
import pathlib
import re

from hermesflow_jax.runtime import storage

_SUFFIX = re.compile(r'\.tar(\.\w+)?$|\.t[gbx]z2?$')
# Ranges count in braces: first, last, step.
_RANGE = re.compile(r'(\d+)\.\.(\d+)(?:\.\.(\d+))?')
_WILD = re.compile(r'[*?[]')
_MOST_SHARDS = 1_000_000
# Braces inside braces.
_MOST_LEVELS = 10


def is_pattern(name: str) -> bool:
  """Returns whether a setting names tar shards by their suffix."""
  return bool(_SUFFIX.search(name.lower()))


def shards(pattern: str) -> list[pathlib.PurePath]:
  """Returns the shards that a pattern names, in order.

  Args:
    pattern: e.g. 'shards/{000..010}.tar', 'shards/*.tar', 'a.tar', or a folder.

  Raises:
    ValueError: shards are missing; the first ten are named. Or the pattern has
      damaged braces.
  """
  path = storage.path(pattern)
  # The name of a file may have braces.
  if storage.is_local(path) and storage.is_file(path):
    return [path]
  paths, missing = [], []
  for name in expand(pattern):
    matches = _matches(name)
    if not matches:
      missing.append(name)
    paths += map(storage.path, matches)
  if missing:
    more = f' and {len(missing) - 10} more' if len(missing) > 10 else ''
    raise ValueError(
      'annotations must name existing tar shards, got none for '
      f'{", ".join(missing[:10])}{more}; check the numbers of {pattern}'
    )
  return paths


def compressed(folder: str) -> list[str]:
  """Returns the compressed shards of a local folder that nobody unpacked.

  Args:
    folder: the folder; [] for another name.
  """
  path = storage.path(folder)
  if not (storage.is_local(path) and storage.is_folder(path)):
    return []
  names = sorted(storage.list_names(path))
  unpacked = {name.lower().removesuffix('.tar') for name in names}
  return [
    name
    for name in names
    if is_pattern(name)
    and not name.lower().endswith('.tar')
    and _SUFFIX.sub('', name.lower()) not in unpacked
  ]


def _matches(name) -> Sequence:
  """Returns the shards of a name without braces."""
  path = storage.path(name)
  if not storage.is_local(path):
    if _WILD.search(name):
      return storage.glob(name)
    return [path] if storage.is_file(path) else []
  if storage.is_folder(path):
    names = sorted(storage.list_names(path))
    return [path / name for name in names if name.lower().endswith('.tar')]
  if storage.is_file(path):
    return [path]
  return sorted(glob.glob(str(path))) if _WILD.search(name) else []


def expand(pattern: str) -> list[str]:
  """Returns the names that braces stand for, as in a shell.

  Braces hold texts with commas, or a range of numbers: {000..010}, {10..0},
  {0..10..2}. They may stand in braces.

  Args:
    pattern: text.

  Raises:
    ValueError: a brace has no partner, holds neither, or the names are too
      many.

  >>> expand('{a,{08..10}}.tar')
  ['a.tar', '08.tar', '09.tar', '10.tar']
  """
  options, rest = _expand(pattern, pattern, 0)
  if rest:
    raise ValueError(
      f'annotations must open every brace, got {pattern}; write e.g. '
      'shards/{000..010}.tar'
    )
  return options


def _expand(text, pattern, level) -> tuple[list[str], str]:
  """Expands a text up to the end of the braces around it.

  Args:
    text: text behind an opening brace; at level 0 the pattern.
    pattern: the pattern, for errors.
    level: number of braces around the text.

  Returns:
    (names, rest of the text from the brace or the comma that ends it).
  """
  names = ['']
  while True:
    sign = re.search(r'[{}]' if level == 0 else r'[{},]', text)
    end = sign.start() if sign else len(text)
    names, text = [name + text[:end] for name in names], text[end:]
    if not text.startswith('{'):
      return names, text
    options, text = _braces(text, pattern, level + 1)
    _check_count(len(names) * len(options), pattern)
    names = [a + b for a, b in itertools.product(names, options)]


def _braces(text, pattern, level) -> tuple[list[str], str]:
  """Expands the braces that a text begins with; returns (names, rest)."""
  if level > _MOST_LEVELS:
    raise ValueError(
      f'annotations must have at most {_MOST_LEVELS} braces inside each other, '
      f'got {pattern[:80]}'
    )
  if match := re.match(r'\{' + _RANGE.pattern + r'\}', text):
    return _numbers(match[1], match[2], match[3], pattern), text[match.end() :]
  options, rest, parts = [], text, 0
  while rest[:1] in ('{', ',') and (not parts or rest[0] == ','):
    names, rest = _expand(rest[1:], pattern, level)
    options, parts = options + names, parts + 1
    _check_count(len(options), pattern)
  if rest[:1] != '}':
    raise ValueError(
      f'annotations must close every brace, got {pattern}; write e.g. '
      'shards/{000..010}.tar'
    )
  if parts == 1 and options == ['']:
    raise ValueError(
      'annotations must have a range or names in braces, got {} in '
      f'{pattern}; write e.g. shards/{{000..010}}.tar'
    )
  return options, rest[1:]


def _numbers(first, last, step, pattern) -> list[str]:
  """Returns the numbers of a range as texts of one width, as in a shell."""
  start, end = int(first), int(last)
  count = abs(end - start) // max(1, int(step or 1)) + 1
  _check_count(count, pattern)
  pace = max(1, int(step or 1)) * (1 if end >= start else -1)
  padded = any(len(n) > 1 and n.startswith('0') for n in (first, last))
  width = max(len(first), len(last)) if padded else 0
  return [f'{start + n * pace:0{width}}' for n in range(count)]


def _check_count(count, pattern):
  if count > _MOST_SHARDS:
    raise ValueError(
      f'annotations must name at most {_MOST_SHARDS} shards, got {pattern}'
    )
