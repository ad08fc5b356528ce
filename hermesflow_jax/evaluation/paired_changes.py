"""Changes between evaluations of the same scenes, for results of jobs.

`scene_statistics.difference` computes them.
"""

from collections.abc import Sequence
import json
import pathlib
import zipfile
import zlib

from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.runtime import storage

# What readers raise for files that are gone, cut, or hold other values.
DAMAGE = (
  FileNotFoundError,
  EOFError,
  ValueError,
  KeyError,
  TypeError,
  IndexError,
  RecursionError,
  zipfile.BadZipFile,
  zlib.error,
)
SCORES = ('understanding', 'generation', 'gap')


def read_scores(
  folder: pathlib.PurePath, name: str = 'scenes'
) -> dict[str, dict[str, float]]:
  """Reads SCORES of an evaluation by scene id.

  Args:
    folder: evaluation folder.
    name: 'scenes', or 'scenes_unseen' for scenes with unseen captions.

  Raises:
    ValueError: the file is gone or damaged.
  """
  path = folder / f'{name}.jsonl'
  try:
    with storage.open_text(path) as file:
      # Memory holds a line at a time.
      return {
        row['id']: {
          'understanding': row['understanding'],
          'generation': row['generation'],
          'gap': row['understanding'] - row['generation'],
        }
        for row in map(json.loads, file)
      }
  except DAMAGE as error:
    raise damaged(path, error) from error


def damaged(path: pathlib.PurePath, error: Exception) -> ValueError:
  """Returns the error of a file of an evaluation that is gone or damaged.

  Args:
    path: the file.
    error: exception from reading it, an instance of DAMAGE.
  """
  record = path.parent / 'evaluation.json'
  return ValueError(
    f'{path} is gone or damaged ({type(error).__name__}: {error}): remove '
    f'{record}, and the same command makes both again'
  )


def paired_change(
  before: Sequence[dict[str, dict[str, float]]],
  after: Sequence[dict[str, dict[str, float]]],
) -> dict[str, float | bool]:
  """Returns the mean change of each of SCORES, with its standard error.

  Args:
    before: scores from `read_scores`, for each run (seed).
    after: the same; run n is compared with run n of `before`.

  Returns:
    `<score>`: mean change over runs and scenes; `<score>_se`: its standard
    error over scenes and runs (`scene_statistics.Difference`); with several
    runs also `<score>_stands`: whether it is significant.

  Raises:
    ValueError: the evaluations have different scenes.
  """
  changes = {}
  for score in SCORES:
    by_scene = [
      [{name: row[score] for name, row in run.items()} for run in runs]
      for runs in (before, after)
    ]
    difference = scene_statistics.difference(*by_scene)
    changes[score] = difference.value
    changes[f'{score}_se'] = difference.error
    if len(difference.runs) > 1:
      changes[f'{score}_stands'] = difference.significant
  return changes
