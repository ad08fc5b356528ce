"""Differences between evaluations of the same scenes, scene by scene.

Scenes differ far more than models do, so a difference is taken within each
scene first; its standard error is that of the mean over scenes.
"""

from collections.abc import Sequence
import json
import pathlib

import numpy as np

from hermesflow_jax import storage
from hermesflow_jax.evaluation import gap

SCORES = ('understanding', 'generation', 'gap')


def read(folder: pathlib.PurePath) -> dict[str, dict[str, float]]:
  """Returns the scores of each scene of an evaluation, by the scene's id."""
  with storage.text(folder / 'scenes.jsonl') as file:
    rows = [json.loads(line) for line in file]
  return {
      row['id']: {
          'understanding': row['understanding'],
          'generation': row['generation'],
          'gap': row['understanding'] - row['generation'],
      }
      for row in rows
  }


def paired(
    before: Sequence[dict[str, dict[str, float]]],
    after: Sequence[dict[str, dict[str, float]]],
) -> dict[str, float]:
  """Returns by how much each of SCORES changed, and the standard errors.

  Args:
    before: what `read` gives, of one or several runs (seeds).
    after: as many; run n is compared with run n of `before`.

  Returns:
    `<score>`, the mean change over runs and scenes; `<score>_se`, the
    standard error over scenes of the change averaged over runs.

  Raises:
    ValueError: the evaluations are of different scenes.
  """
  names = sorted(before[0])
  if any(sorted(run) != names for run in (*before, *after)):
    raise ValueError('the evaluations are of different scenes')
  out = {}
  for score in SCORES:
    moved = np.array([
        [new[n][score] - old[n][score] for n in names]
        for old, new in zip(before, after, strict=True)
    ]).mean(0)
    out[score] = float(moved.mean())
    out[f'{score}_se'] = gap.standard_error(moved)
  return out
