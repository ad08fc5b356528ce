"""Files that runs write: JSON, JSON lines, npz archives."""

from collections.abc import Callable
from collections.abc import Iterable
import hashlib
import io
import json
import pathlib

import numpy as np

from hermesflow_jax.runtime import file_streams
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage


def json_lines(rows: Iterable[dict]) -> str:
  """Returns rows as JSON lines.

  Args:
    rows: JSON types.

  Raises:
    ValueError: a number is NaN or infinite.
  """
  return ''.join(map(_json_line, rows))


def _json_line(row: dict) -> str:
  return json.dumps(row, allow_nan=False) + '\n'


def npz_bytes(**arrays) -> bytes:
  """Returns arrays as the content of a compressed npz file.

  Args:
    **arrays: numpy arrays by name.
  """
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  return buffer.getvalue()


def json_text(value) -> str:
  """Returns a value as the text of a JSON file.

  Args:
    value: JSON types.

  Raises:
    ValueError: a number is NaN or infinite.
  """
  return json.dumps(value, indent=1, allow_nan=False) + '\n'


def read_json(
  source: pathlib.PurePath,
  is_complete: Callable[[dict], bool] = lambda value: True,
) -> dict:
  """Returns the JSON object of a file that a run wrote.

  Args:
    source: file path.
    is_complete: whether an object has all values, with their types.

  Raises:
    ValueError: the file is damaged.
  """
  try:
    value = json.loads(source.read_bytes())
  except (ValueError, RecursionError) as error:
    raise damaged(source, error) from error
  if not isinstance(value, dict):
    raise damaged(source, 'it holds no JSON object')
  if not is_complete(value):
    raise damaged(source, 'a value is missing, or has another type')
  return value


def is_number(value: object) -> bool:
  """Returns whether a JSON value is a number."""
  return isinstance(value, int | float) and not isinstance(value, bool)


def damaged(source: pathlib.PurePath, reason: Exception | str) -> ValueError:
  """Returns the error of a damaged file that a run can make again.

  Args:
    source: file path.
    reason: what is wrong with the file.
  """
  return ValueError(
    f'{source} is damaged ({reason}): remove it, and the same command makes it '
    'again'
  )


def write_atomically(target: str, data: str | bytes) -> None:
  """Writes a file in the first process; it appears only when complete.

  Args:
    target: file path.
    data: its content; text is encoded as UTF-8.
  """
  if processes.is_first():
    storage.write(
      storage.path(target), data.encode() if isinstance(data, str) else data
    )


def write_json_lines(target: str, rows: Iterable[dict]) -> None:
  """Writes JSON lines in the first process; memory holds a row at a time.

  The file appears only when it is complete.

  Args:
    target: file path.
    rows: JSON types.

  Raises:
    ValueError: a number is NaN or infinite.
  """
  if not processes.is_first():
    return
  with file_streams.replacing(storage.path(target)) as file:
    file.writelines(_json_line(row).encode() for row in rows)


def write_json_list(target: str, rows: Iterable[dict]) -> None:
  """Writes a JSON list in the first process; memory holds a row at a time.

  The file is that of `json.dump` with `indent=4` and `ensure_ascii=False`, with
  a line feed at its end. It appears only when it is complete.

  Args:
    target: file path.
    rows: JSON objects.

  Raises:
    ValueError: a number is NaN or infinite.
  """
  if not processes.is_first():
    return
  with file_streams.replacing(storage.path(target)) as file:
    mark = '['
    for row in rows:
      text = json.dumps([row], ensure_ascii=False, allow_nan=False, indent=4)
      file.write((mark + text.removeprefix('[').removesuffix('\n]')).encode())
      mark = ','
    file.write(b'[]\n' if mark == '[' else b'\n]\n')


def sha256(source: str) -> str:
  """Returns a file's SHA-256.

  Args:
    source: file path.

  Raises:
    ValueError: the file cannot be read.
  """
  try:
    with storage.path(source).open('rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise ValueError(f'{source} cannot be read: {error}') from error
