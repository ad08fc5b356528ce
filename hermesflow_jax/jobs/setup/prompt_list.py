"""Prompts from settings, and from files in the forms of benchmarks."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Sequence
import csv
import hashlib
import io
import itertools
import json
import os
import pathlib
import re

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import strict_json
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import text_files
from hermesflow_jax.runtime import user_text

with lazy_modules.on_first_use():
  from hermesflow_jax.sampling import unified_model
  from hermesflow_jax.sequences import known_words

# Fields of a record that hold its prompt; the first that exists counts.
_FIELDS = ('prompt', 'Prompt', 'caption', 'text')
_JSON = ('.json', '.jsonl')
_TABLES = {'.csv': ',', '.tsv': '\t'}


def read_prompts(
  texts: Sequence[str],
  path: str,
  examples: Sequence[str] = (),
  say: Callable[[str], None] = lambda line: None,
) -> list[tuple[str, str]]:
  """Returns prompts without repetition, each with its fault.

  Blank lines of a file are passed over. Odd spaces become spaces, invisible
  characters are dropped.

  Args:
    texts: prompts from the settings.
    path: prompts from a file; '' for none. The file has a prompt per line, or
      records with a field 'prompt' or 'caption' (JSON lines as of GenEval, a
      JSON list, .csv, .tsv); or it is a folder with a text file per prompt, as
      of DPG-Bench.
    examples: `texts` that are not drawn beside a file, e.g. defaults.
    say: receives a line if odd characters were replaced.

  Returns:
    (prompt, fault) in order; a valid prompt has the fault ''.

  Raises:
    ValueError: the file cannot be read, or has no prompt.
  """
  rows = [(text, _file_fault(text)) for text in texts]
  if path:
    if tuple(texts) == tuple(examples):
      rows = []
    file_rows = _file_prompts(storage.path(path))
    if not file_rows:
      raise ValueError(f'{path} must hold prompts, got none; write one a line')
    rows += file_rows
  odd = {
    text: name for text, _ in rows if (name := user_text.odd_characters(text))
  }
  if odd:
    names = ', '.join(dict.fromkeys(itertools.chain(*odd.values())))
    say(
      'warning: odd spaces and invisible characters are replaced in '
      f'{len(odd)} prompts: {names}'
    )
  counts, checked = collections.Counter(), []
  for prompt, fault in rows:
    prompt = ' '.join(user_text.normalize(prompt).split())
    counts[prompt] += 1
    fault = fault or _fault(prompt)
    if fault:
      checked.append((prompt, fault))
      continue
    if counts[prompt] == 2:
      fault = 'it occurs twice; set `each` to draw a prompt several times'
    elif counts[prompt] > 2:
      continue
    checked.append((prompt, fault))
  return checked


def _file_fault(prompt) -> str:
  """Returns a fault if a prompt is the path of a file with prompts, or ''."""
  if pathlib.PurePath(prompt).suffix.lower() not in ('.txt', *_JSON, *_TABLES):
    return ''
  if not os.path.isfile(os.path.expanduser(prompt)):
    return ''
  return f'it is the path of a file; draw its prompts by --config.file={prompt}'


def _fault(prompt):
  """Returns why a prompt cannot be drawn, or ''."""
  if not prompt:
    return 'it is empty'
  try:
    user_text.check('it', prompt)
  except ValueError as error:
    return str(error)
  return ''


def _file_prompts(path: pathlib.PurePath) -> list[tuple[str, str]]:
  """Returns (prompt, fault) for each prompt of a file or folder."""
  if path.is_dir():
    files = _text_files(path)
    if not files:
      raise ValueError(f'{path} must hold .txt files with a prompt each, got 0')
    texts = {file: text_files.read(file) for file in files}
    return [
      (text, '') if text.strip() else (str(file), 'it is empty')
      for file, text in texts.items()
    ]
  text = text_files.read(path)
  suffix = path.suffix.lower()
  if suffix in _TABLES:
    return _table_prompts(text, _TABLES[suffix], path)
  if suffix in _JSON or _is_json(text):
    return [
      _of_record(place, record)
      for place, value in strict_json.records(text)
      for record in _records(value)
    ]
  return [(line, '') for line in text.split('\n') if line.strip()]


def _table_prompts(text, delimiter, path):
  """Returns (prompt, fault) for each prompt of a table with a header.

  DPG-Bench repeats a prompt in the row of each question.
  """
  rows = csv.DictReader(io.StringIO(text, newline=''), delimiter=delimiter)
  try:
    prompts = list(
      dict.fromkeys(_of_record(f'line {rows.line_num}', row) for row in rows)
    )
  except csv.Error as error:
    raise ValueError(f'{path} line {rows.line_num}: {error}') from error
  if rows.fieldnames and not prompts:
    raise ValueError(
      f'{path} must have rows below its first line, which names the columns, '
      f'got none; the first line is {user_text.quote(text.strip())}'
    )
  return prompts


def _text_files(folder):
  return [
    folder / name
    for name in sorted(storage.list_names(folder))
    if name.lower().endswith('.txt') and not name.startswith('.')
  ]


def _is_json(text):
  """Returns whether the first line is a JSON object."""
  first = next((line for line in text.split('\n') if line.strip()), '')
  try:
    return isinstance(strict_json.parse(first), dict)
  except ValueError:
    return False


def _records(value):
  """Returns the records of a JSON value: itself, or those that it names."""
  named = isinstance(value, dict) and not set(_FIELDS) & set(value)
  if named and value and all(isinstance(v, dict) for v in value.values()):
    return list(value.values())
  return [value]


def _of_record(place, value) -> tuple[str, str]:
  """Returns (prompt, fault) of a record."""
  if isinstance(value, str):
    return value, ''
  if isinstance(value, ValueError):
    return place, f'it must be JSON: {value}'
  fields = list(value) if isinstance(value, dict) else []
  for field in _FIELDS:
    if field in fields and isinstance(value[field], str):
      return value[field], ''
    if field in fields:
      return place, f'{field} must be text, got {user_text.quote(value[field])}'
  return place, (
    f'it must have a text in the field {_FIELDS[0]!r}, got the fields '
    f'{", ".join(map(repr, fields[:8])) or "none"}'
  )


def file_hash(path: str) -> str:
  """Returns the SHA-256 of a prompts file, or of all files of a folder.

  Args:
    path: see `read_prompts`.

  Raises:
    ValueError: a file cannot be read.
  """
  folder = storage.path(path)
  if not folder.is_dir():
    return output_files.sha256(path)
  sums = {
    file.name: output_files.sha256(str(file)) for file in _text_files(folder)
  }
  return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def report_misread(
  unified: unified_model.UnifiedModel,
  prompts: Sequence[str],
  console: terminal.Console,
) -> dict[str, str]:
  """Warns of prompts that are too long, and of words that are not known.

  Args:
    unified: model that draws.
    prompts: texts.
    console: prints the warnings.

  Returns:
    By prompt that is too long, the last words that the model reads.
  """
  truncated = {
    prompt: end
    for prompt in prompts
    if (end := unified.read_to(prompt)) is not None
  }
  for prompt, end in truncated.items():
    console.say(
      f'warning: {user_text.quote(prompt)} is too long, the model reads it up '
      f'to {end!r}'
    )
  if warning := known_words.unknown_warning(unified.text, prompts):
    console.say(warning)
  return truncated


def file_slug(prompt: str) -> str:
  """Returns a prompt in a form that fits into a file name."""
  return re.sub(r'[^a-z0-9]+', '-', prompt.lower()).strip('-')[:40] or 'image'
