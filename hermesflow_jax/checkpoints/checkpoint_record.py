"""The record of a checkpoint: fingerprints, the user's metadata and their hash.

Orbax writes it as two strings, `record` (JSON) and `sum` (SHA-256 of `record`).
"""

import copy
import functools
import hashlib
import json

from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.runtime import storage

# The file that orbax writes into each checkpoint.
MARK = '_CHECKPOINT_METADATA'


def encode(fingerprint: dict[str, list[int]], meta: dict) -> dict[str, str]:
  """Returns the two strings that orbax saves.

  Args:
    fingerprint: see `fingerprints`.
    meta: record of the user; JSON types only.
  """
  record = json.dumps(
    {'fingerprint': fingerprint, 'user': meta}, allow_nan=False
  )
  return {'record': record, 'sum': _sum_of(record)}


def read(path: str) -> dict:
  """Returns {'fingerprint', 'user'} of a checkpoint.

  Args:
    path: absolute path of a checkpoint folder.

  Raises:
    DamagedError: the folder holds no readable checkpoint.
    OSError: the machine lacks memory, rights or files to read it.
  """
  if (record := _read_strings(storage.path(path))) is not None:
    return record
  from orbax.checkpoint import v1 as ocp

  try:
    meta = ocp.load_checkpointables(path, {'meta': None})['meta']
    if meta['sum'] != _sum_of(meta['record']):
      raise read_errors.DamagedError('its record is damaged')
    return json.loads(meta['record'])
  except Exception as error:
    raise read_errors.describe_damage(path, error) from error


def _read_strings(folder) -> dict | None:
  """Reads orbax's file of strings in 0.2 ms, where orbax takes 7 ms.

  Returns:
    The record if its hash is right, else None: orbax knows other layouts, and
    names faults.
  """
  if not storage.is_local(folder) or not (folder / MARK).is_file():
    return None
  try:
    data = (folder / 'meta' / '_strings.json').read_bytes()
    return copy.deepcopy(_parse(data))
  except (OSError, ValueError, LookupError, TypeError, AttributeError):
    pass
  except RecursionError:
    # Lists nested too deeply; orbax names the fault.
    pass
  return None


@functools.lru_cache(maxsize=4)
def _parse(data: bytes) -> dict | None:
  """Returns the record in orbax's file of strings; None if its hash is wrong.

  A job reads a record some ten times, and the text tokenizer within it can
  have megabytes, so parsed records are kept.
  """
  meta = json.loads(data)
  record = meta['record']
  return json.loads(record) if meta['sum'] == _sum_of(record) else None


def _sum_of(record: str) -> str:
  return hashlib.sha256(record.encode()).hexdigest()
