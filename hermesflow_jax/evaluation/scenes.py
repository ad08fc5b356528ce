"""Scores of each scene, their means, and which differences stand.

Scenes differ far more than models do, so models are compared within scenes,
and runs (seeds) are averaged before the scenes are.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import pathlib

import numpy as np

from hermesflow_jax import storage
from hermesflow_jax.evaluation import gap

HEADLINE = ('understanding', 'generation', 'gap', 'caption_similarity')

# Values by the id of a scene.
Values = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean over runs and scenes, and its standard error over scenes."""

  value: float
  error: float


@dataclasses.dataclass(frozen=True)
class Difference:
  """Of two models, scene by scene.

  Attributes:
    value: the mean over runs and scenes.
    error: its standard error: over scenes of the mean over runs, and over the
      means of runs, squares added. The second also has the first in it, so
      this is on the careful side.
    runs: the mean of each run.
  """

  value: float
  error: float
  runs: tuple[float, ...]

  @property
  def stands(self) -> bool:
    """Whether it is beyond two standard errors, with one sign in all runs."""
    same = len({np.sign(each) for each in self.runs}) == 1
    return same and abs(self.value) > 2 * self.error


def read(folder: pathlib.PurePath, inputs: gap.Inputs) -> dict[str, dict]:
  """Returns the scores of an evaluation: name -> {id: value}.

  Args:
    folder: with `scenes.jsonl`.
    inputs: what was evaluated.

  Returns:
    HEADLINE; `understanding/<type>` and `generation/<type>`, shares of right
    answers to the questions of an element type, where a scene has any; and
    `geneval/<tag>`, 1 where all questions of a scene are right.

  Raises:
    ValueError: the scenes are others.
  """
  with storage.text(folder / 'scenes.jsonl') as file:
    rows = [json.loads(line) for line in file]
  if [row['id'] for row in rows] != list(inputs.ids):
    raise ValueError(f'{folder} has an evaluation of other scenes')
  out = {}
  for row, asked, tag in zip(rows, inputs.questions, inputs.tags):
    und = gap.right(row['answers'], asked)
    gen = gap.right(row['judged'], asked)
    found = {
        'understanding': row['understanding'],
        'generation': row['generation'],
        'gap': row['understanding'] - row['generation'],
        'caption_similarity': row['similarity'],
    }
    if tag:
      found[f'geneval/{tag}'] = float(all(gen))
    for kind in {question['element_type'] for question in asked}:
      of_kind = [question['element_type'] == kind for question in asked]
      for name, right in (('understanding', und), ('generation', gen)):
        found[f'{name}/{kind}'] = float(np.mean(np.array(right)[of_kind]))
    for name, value in found.items():
      out.setdefault(name, {})[row['id']] = float(value)
  return out


def mean(runs: Sequence[Values]) -> Mean:
  """Returns the mean of values of the same scenes in several runs."""
  means = _table(runs).mean(0)
  return Mean(float(means.mean()), gap.standard_error(means))


def difference(before: Sequence[Values], after: Sequence[Values]) -> Difference:
  """Returns how much higher the values after are; run n against run n."""
  moved = _table(after) - _table(before, list(after[0]))
  runs = moved.mean(1)
  error = gap.standard_error(moved.mean(0))
  if len(runs) > 1:
    error = float(np.hypot(error, gap.standard_error(runs)))
  return Difference(float(runs.mean()), error, tuple(map(float, runs)))


def average(means: Sequence[Mean]) -> Mean:
  """Returns the mean of means of different scenes."""
  errors = np.array([each.error for each in means])
  return Mean(
      float(np.mean([each.value for each in means])),
      float(np.sqrt((errors**2).sum()) / len(means)),
  )


def _table(runs, names=None):
  """float[R, N]; ValueError if runs have values of different scenes."""
  names = names or list(runs[0])
  if any(run.keys() != set(names) for run in runs):
    raise ValueError('the evaluations are of different scenes')
  return np.array([[run[name] for name in names] for run in runs])
