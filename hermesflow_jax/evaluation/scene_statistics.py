"""Statistics over scenes: scores, means, and significant differences.

Scenes differ far more than models do. So models are compared scene by scene,
and runs (seeds) are averaged before scenes.
"""

import collections
from collections.abc import Container
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import pathlib

import numpy as np

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
# Mean over GenEval's six tasks; each weighs the same.
TASK_MEAN = 'six tasks'
# Generation on captions that inputs have, and on others.
SEEN, UNSEEN = 'captions/seen', 'captions/unseen'
# The task with the most captions. Inputs have few of them, so with this task
# unseen captions are another mix of tasks than seen captions.
LARGEST_TASK = 'color_attr'
TASKS_BUT_LARGEST = f'all but {LARGEST_TASK}'

# Values by scene id.
Values = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Mean:
  """A mean over runs and scenes.

  Attributes:
    value: the mean.
    error: its standard error over scenes.
    scenes: number of scenes.
  """

  value: float
  error: float
  scenes: int


@dataclasses.dataclass(frozen=True)
class Difference:
  """A difference between two models, scene by scene.

  Attributes:
    value: mean over runs and scenes.
    error: standard error, sqrt(a^2 + b^2): a over scenes, after the mean over
      runs; b over runs, after the mean over scenes. b contains noise of scenes
      as well, so the error is rather too large than too small.
    runs: mean over scenes, for each run.
    degrees_of_freedom: those of the error (Welch and Satterthwaite): about 2 if
      three runs differ by more than scenes explain.
  """

  value: float
  error: float
  runs: tuple[float, ...]
  degrees_of_freedom: float

  @property
  def significant(self) -> bool:
    """Whether a t-test at 5% is significant and all runs have the same sign.

    False for a single run, whose seed may be lucky.
    """
    if len(self.runs) < 2 or len({np.sign(run) for run in self.runs}) > 1:
      return False
    # Imported where needed: it takes half a second.
    from scipy import stats

    # Without any change in the scores, error and degrees of freedom are 0.
    freedom = max(self.degrees_of_freedom, 1.0)
    bound = stats.t.ppf(0.975, freedom) * self.error
    return bool(abs(self.value) > bound)


def read_scenes(
  folder: pathlib.PurePath, inputs: input_set.Inputs, seen: Container[str] = ()
) -> dict[str, dict]:
  """Reads the scores of an evaluation: score -> {scene id: value}.

  Args:
    folder: has `scenes.jsonl`.
    inputs: the evaluated scenes.
    seen: captions that inputs of the rounds have.

  Returns:
    HEADLINE: `own_score` is the model's own score for its images, `overrated`
      by how much it exceeds the judge's; both are left out if the model is the
      judge.
    `understanding/<type>`, `generation/<type>`: share of right answers to
      questions with an element type, for scenes with such questions.
    `geneval/<tag>`: 1 if all questions of a scene are right, else 0.
    TASK_MEAN: its mean over scenes is the mean over tasks.
    SEEN, UNSEEN: generation, also by tag (`captions/unseen/<tag>`) and for all
      tags but LARGEST_TASK.

  Raises:
    ValueError: the folder has an evaluation of other scenes.
  """
  with storage.open_text(folder / 'scenes.jsonl') as file:
    rows = [json.loads(line) for line in file]
  if [row['id'] for row in rows] != list(inputs.ids):
    raise ValueError(f'{folder} has an evaluation of other scenes')
  scores, tags = {}, collections.Counter(tag for tag in inputs.tags if tag)
  for row, caption, questions, tag in zip(
    rows, inputs.captions, inputs.questions, inputs.tags
  ):
    und = input_set.correct_answers(row['answers'], questions)
    gen = input_set.correct_answers(row['judged'], questions)
    caption_group = SEEN if caption in seen else UNSEEN
    scene = {
      'understanding': row['understanding'],
      'generation': row['generation'],
      'gap': row['understanding'] - row['generation'],
      'caption_similarity': row['similarity'],
      caption_group: row['generation'],
    }
    # Missing if the model is the judge.
    if 'own_score' in row:
      scene['own_score'] = row['own_score']
      scene['overrated'] = row['own_score'] - row['generation']
    if tag:
      scene[f'geneval/{tag}'] = float(all(gen))
      scene[f'{caption_group}/{tag}'] = row['generation']
      if tag != LARGEST_TASK:
        scene[f'{caption_group}/{TASKS_BUT_LARGEST}'] = row['generation']
      weight = tags.total() / len(tags) / tags[tag]
      scene[TASK_MEAN] = weight * all(gen)
    for kind in {question['element_type'] for question in questions}:
      of_kind = [question['element_type'] == kind for question in questions]
      for name, right in (('understanding', und), ('generation', gen)):
        scene[f'{name}/{kind}'] = float(np.mean(np.array(right)[of_kind]))
    for name, value in scene.items():
      scores.setdefault(name, {})[row['id']] = float(value)
  return scores


def mean(runs: Sequence[Values]) -> Mean:
  """Returns the mean over runs and scenes.

  Args:
    runs: values by scene id, for each run.

  Raises:
    ValueError: the runs have different scenes.
  """
  means = _table(runs).mean(0)
  return Mean(float(means.mean()), gap.standard_error(means), len(means))


def difference(before: Sequence[Values], after: Sequence[Values]) -> Difference:
  """Returns by how much values rise from `before` to `after`.

  Args:
    before: values by scene id, for each run.
    after: the same; run n is compared with run n of `before`.

  Raises:
    ValueError: the numbers of runs differ, or the runs have different scenes.
  """
  if len(before) != len(after):
    raise ValueError(f'{len(before)} runs before, {len(after)} after')
  moved = _table(after) - _table(before, list(after[0]))
  means, runs = moved.mean(0), moved.mean(1)
  squares = [gap.standard_error(means) ** 2]
  degrees_of_freedom = [len(means) - 1]
  if len(runs) > 1:
    squares.append(gap.standard_error(runs) ** 2)
    degrees_of_freedom.append(len(runs) - 1)
  error = float(np.sqrt(sum(squares)))
  denominator = sum(
    s**2 / f for s, f in zip(squares, degrees_of_freedom) if s and f
  )
  return Difference(
    float(runs.mean()),
    error,
    tuple(map(float, runs)),
    error**4 / denominator if denominator else 0.0,
  )


def average_difference(means: Sequence[Mean]) -> Mean:
  """Returns the mean of means over different scenes, each with equal weight."""
  errors = np.array([part.error for part in means])
  return Mean(
    float(np.mean([part.value for part in means])),
    float(np.sqrt((errors**2).sum()) / len(means)),
    sum(part.scenes for part in means),
  )


def _table(runs, names=None):
  """Returns float[R, N], values of R runs and N scenes.

  Args:
    runs: values by scene id, for each run.
    names: N scene ids, in order; None: those of the first run.

  Raises:
    ValueError: the runs have different scenes.
  """
  names = names or list(runs[0])
  if any(run.keys() != set(names) for run in runs):
    raise ValueError('the evaluations have different scenes')
  return np.array([[run[name] for name in names] for run in runs])
