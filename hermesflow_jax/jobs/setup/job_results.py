"""Results files: JSON, or JSON lines."""

from collections.abc import Sequence
import json
import pathlib

from hermesflow_jax.runtime import output_files


def write_json(path: pathlib.PurePath, results) -> None:
  """Writes results as indented JSON, atomically.

  Args:
    path: target file.
    results: JSON values; NaN and infinity are allowed.
  """
  output_files.write_atomically(path, json.dumps(results, indent=1) + '\n')


def unicode_json_lines(rows: Sequence[dict]) -> str:
  """Returns a JSON object per line; text stays readable in any language."""
  return ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
