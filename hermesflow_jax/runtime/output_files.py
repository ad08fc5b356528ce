"""Files that runs write: JSON lines, npz archives, whole or not at all."""

from collections.abc import Sequence
import hashlib
import io
import json

import numpy as np

from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage


def json_lines(rows: Sequence[dict]) -> str:
  """Returns JSON lines; NaN is refused."""
  return ''.join(json.dumps(row, allow_nan=False) + '\n' for row in rows)


def npz_bytes(**arrays) -> bytes:
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  return buffer.getvalue()


def json_text(value) -> str:
  return json.dumps(value, indent=1, allow_nan=False) + '\n'


def write_atomically(target: str, data: str | bytes) -> None:
  """Writes a file that appears whole or not at all: by the first process."""
  if processes.is_first():
    storage.write(
      storage.path(target), data.encode() if isinstance(data, str) else data
    )


def sha256(source: str) -> str:
  """Returns the SHA-256 of a file; ValueError if it cannot be read."""
  try:
    with storage.path(source).open('rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise ValueError(f'{source} cannot be read: {error}') from error
