"""Changes between evaluations of the same scenes, as the jobs tell them.

The statistics are those of `scenes`.
"""

from collections.abc import Sequence
import json
import pathlib

from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.runtime import storage

SCORES = ('understanding', 'generation', 'gap')


def read_scores(
  folder: pathlib.PurePath, name: str = 'scenes'
) -> dict[str, dict[str, float]]:
  """Returns the scores of each scene of an evaluation, by the scene's id.

  Args:
    folder: of the evaluation.
    name: 'scenes', or 'scenes_unseen' for those of unseen captions.
  """
  with storage.open_text(folder / f'{name}.jsonl') as file:
    rows = [json.loads(line) for line in file]
  return {
    row['id']: {
      'understanding': row['understanding'],
      'generation': row['generation'],
      'gap': row['understanding'] - row['generation'],
    }
    for row in rows
  }


def paired_change(
  before: Sequence[dict[str, dict[str, float]]],
  after: Sequence[dict[str, dict[str, float]]],
) -> dict[str, float | bool]:
  """Returns by how much each of SCORES changed, and the standard errors.

  Args:
    before: what `read_scores` gives, of one or several runs (seeds).
    after: as many; run n is compared with run n of `before`.

  Returns:
    `<score>`, the mean change over runs and scenes; `<score>_se`, its standard
    error: over scenes and, of several runs, over these, too
    (`scene_statistics.Difference`); of several runs `<score>_stands`, whether it is
    beyond chance.

  Raises:
    ValueError: the evaluations are of different scenes.
  """
  out = {}
  for score in SCORES:
    of_scenes = [
      [{name: row[score] for name, row in run.items()} for run in runs]
      for runs in (before, after)
    ]
    found = scene_statistics.difference(*of_scenes)
    out[score], out[f'{score}_se'] = found.value, found.error
    if len(found.runs) > 1:
      out[f'{score}_stands'] = found.stands
  return out
