"""Scores of each scene, their means, and which differences stand.

Scenes differ far more than models do, so models are compared within scenes,
and runs (seeds) are averaged before the scenes are.
"""

import collections
from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib

import numpy as np
from scipy import stats

from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.runtime import storage

HEADLINE = (
  'understanding',
  'generation',
  'gap',
  'caption_similarity',
  'own_score',
  'overrated',
)
# The mean of the tasks; each counts the same, however many scenes it has.
SIX = 'six tasks'
# Generation, by whether a caption is among those of inputs.
SEEN, UNSEEN = 'captions/seen', 'captions/unseen'
# This task has so many captions that inputs have few of them: with it, other
# captions are of another mix of tasks.
MANY = 'color_attr'
SIX_BUT_MANY = f'all but {MANY}'

# Values by the id of a scene.
Values = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean over runs and scenes, and its standard error over scenes."""

  value: float
  error: float
  scenes: int


@dataclasses.dataclass(frozen=True)
class Difference:
  """Of two models, scene by scene.

  Attributes:
    value: the mean over runs and scenes.
    error: its standard error: over scenes of the mean over runs, and over the
      means of runs, squares added. The second also has the first in it, so
      this is on the careful side.
    runs: the mean of each run.
    freedom: degrees of freedom of the error (Welch and Satterthwaite): two
      where three runs differ by more than scenes explain.
  """

  value: float
  error: float
  runs: tuple[float, ...]
  freedom: float

  @property
  def stands(self) -> bool:
    """Whether it is one beyond chance: t-test at 5%, one sign in all runs.

    Of one run nothing stands: its seed may have been a lucky one.
    """
    if len(self.runs) < 2 or len({np.sign(each) for each in self.runs}) > 1:
      return False
    # Where nothing moved there is no error and no freedom either.
    bound = stats.t.ppf(0.975, max(self.freedom, 1.0)) * self.error
    return bool(abs(self.value) > bound)


def read_scenes(
  folder: pathlib.PurePath, inputs: input_set.Inputs, seen: Container[str] = ()
) -> dict[str, dict]:
  """Returns the scores of an evaluation: name -> {id: value}.

  Args:
    folder: with `scenes.jsonl`.
    inputs: what was evaluated.
    seen: captions of inputs.

  Returns:
    HEADLINE, where `own_score` is the model's own score of its images and
    `overrated` by how much that is above the judge's, both left out where the
    model is the judge; `understanding/<type>` and `generation/<type>`, shares
    of right answers to the questions of an element type, where a scene has
    any; `geneval/<tag>`, 1 where all questions of a scene are right; SIX, of
    which the mean over scenes is that of tasks; SEEN and UNSEEN, also by tag,
    `captions/unseen/<tag>`, and of all tags but MANY.

  Raises:
    ValueError: the scenes are others.
  """
  with storage.open_text(folder / 'scenes.jsonl') as file:
    rows = [json.loads(line) for line in file]
  if [row['id'] for row in rows] != list(inputs.ids):
    raise ValueError(f'{folder} has an evaluation of other scenes')
  out, tags = {}, collections.Counter(tag for tag in inputs.tags if tag)
  for row, caption, asked, tag in zip(
    rows, inputs.captions, inputs.questions, inputs.tags
  ):
    und = input_set.correct_answers(row['answers'], asked)
    gen = input_set.correct_answers(row['judged'], asked)
    known = SEEN if caption in seen else UNSEEN
    found = {
      'understanding': row['understanding'],
      'generation': row['generation'],
      'gap': row['understanding'] - row['generation'],
      'caption_similarity': row['similarity'],
      known: row['generation'],
    }
    # A model that is its own judge has no other score of its own.
    if 'own_score' in row:
      found['own_score'] = row['own_score']
      found['overrated'] = row['own_score'] - row['generation']
    if tag:
      found[f'geneval/{tag}'] = float(all(gen))
      found[f'{known}/{tag}'] = row['generation']
      if tag != MANY:
        found[f'{known}/{SIX_BUT_MANY}'] = row['generation']
      weight = tags.total() / len(tags) / tags[tag]
      found[SIX] = weight * all(gen)
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
  return Mean(float(means.mean()), gap.standard_error(means), len(means))


def difference(before: Sequence[Values], after: Sequence[Values]) -> Difference:
  """Returns how much higher the values after are; run n against run n.

  Raises:
    ValueError: there are not as many of both, or of different scenes.
  """
  if len(before) != len(after):
    raise ValueError(f'{len(before)} runs before, {len(after)} after')
  moved = _table(after) - _table(before, list(after[0]))
  means, runs = moved.mean(0), moved.mean(1)
  squares = [gap.standard_error(means) ** 2]
  free = [len(means) - 1]
  if len(runs) > 1:
    squares.append(gap.standard_error(runs) ** 2)
    free.append(len(runs) - 1)
  error = float(np.sqrt(sum(squares)))
  parts = sum(s**2 / f for s, f in zip(squares, free) if s and f)
  return Difference(
    float(runs.mean()),
    error,
    tuple(map(float, runs)),
    error**4 / parts if parts else 0.0,
  )


def average_difference(means: Sequence[Mean]) -> Mean:
  """Returns the mean of means of different scenes."""
  errors = np.array([each.error for each in means])
  return Mean(
    float(np.mean([each.value for each in means])),
    float(np.sqrt((errors**2).sum()) / len(means)),
    sum(each.scenes for each in means),
  )


def _table(runs, names=None):
  """float[R, N]; ValueError if runs have values of different scenes."""
  names = names or list(runs[0])
  if any(run.keys() != set(names) for run in runs):
    raise ValueError('the evaluations are of different scenes')
  return np.array([[run[name] for name in names] for run in runs])
