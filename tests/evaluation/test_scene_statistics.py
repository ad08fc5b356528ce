"""Scores of scenes: values, means, and differences beyond chance."""

import dataclasses
import json

import numpy as np
import pytest
import scene_inputs

from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.runtime import output_files


def write(folder, ids=('one', 'two')):
  answers = [['a', 'a', 'a'], ['b']]
  judged = [['a', 'b', 'b'], ['b']]
  rows = [
    {
      'id': name,
      'answers': replies,
      'judged': by,
      'similarity': 0.5,
      'understanding': u,
      'generation': g,
      'own_score': 1.0,
    }
    for name, replies, by, u, g in zip(
      ids, answers, judged, (2 / 3, 1.0), (2 / 3, 1.0)
    )
  ]
  (folder / 'scenes.jsonl').write_text(output_files.json_lines(rows))


def test_scores_of_types_and_tasks_are_those_of_their_scenes(tmp_path):
  write(tmp_path)
  scores = scene_statistics.read_scenes(tmp_path, scene_inputs.INPUTS)
  assert scores['understanding'] == {'one': 2 / 3, 'two': 1.0}
  assert scores['gap'] == {'one': 0.0, 'two': 0.0}
  assert scores['caption_similarity'] == {'one': 0.5, 'two': 0.5}
  # One of two colours was told right, both were drawn right.
  assert scores['understanding/color'] == {'one': 0.5}
  assert scores['generation/color'] == {'one': 1.0}
  assert scores['generation/count'] == {'one': 0.0, 'two': 1.0}
  # Not all of its questions are right; the other scene has no task.
  assert scores['geneval/counting'] == {'one': 0.0}
  assert scores[scene_statistics.TASK_MEAN] == {'one': 0.0}


def test_a_model_overrates_what_the_judge_likes_less(tmp_path):
  write(tmp_path)
  scores = scene_statistics.read_scenes(tmp_path, scene_inputs.INPUTS)
  assert scores['own_score'] == {'one': 1.0, 'two': 1.0}
  assert scores['overrated'] == {'one': pytest.approx(1 / 3), 'two': 0.0}


def test_a_model_that_is_its_own_judge_has_no_other_score(tmp_path):
  write(tmp_path)
  rows = [
    {k: v for k, v in json.loads(line).items() if k != 'own_score'}
    for line in (tmp_path / 'scenes.jsonl').read_text().splitlines()
  ]
  (tmp_path / 'scenes.jsonl').write_text(output_files.json_lines(rows))
  scores = scene_statistics.read_scenes(tmp_path, scene_inputs.INPUTS)
  assert not {'own_score', 'overrated'} & scores.keys()
  assert scores['generation'] == {'one': 2 / 3, 'two': 1.0}


def test_scenes_are_parted_by_whether_an_input_has_their_caption(tmp_path):
  write(tmp_path)
  scores = scene_statistics.read_scenes(
    tmp_path, scene_inputs.INPUTS, seen={'a star', 'a disk'}
  )
  assert scores[scene_statistics.SEEN] == {'two': 1.0}
  assert scores[scene_statistics.UNSEEN] == {'one': 2 / 3}
  assert scores[f'{scene_statistics.UNSEEN}/counting'] == {'one': 2 / 3}
  assert f'{scene_statistics.SEEN}/counting' not in scores
  assert scores[
    f'{scene_statistics.UNSEEN}/{scene_statistics.TASKS_BUT_LARGEST}'
  ] == {'one': 2 / 3}
  scores = scene_statistics.read_scenes(
    tmp_path, scene_inputs.INPUTS, seen={'a ring'}
  )
  assert scores[f'{scene_statistics.SEEN}/counting'] == {'one': 2 / 3}
  many = dataclasses.replace(
    scene_inputs.INPUTS, tags=(scene_statistics.LARGEST_TASK, None)
  )
  scores = scene_statistics.read_scenes(tmp_path, many, seen={'a ring'})
  assert scores[f'{scene_statistics.SEEN}/{scene_statistics.LARGEST_TASK}'] == {
    'one': 2 / 3
  }
  assert (
    f'{scene_statistics.SEEN}/{scene_statistics.TASKS_BUT_LARGEST}'
    not in scores
  )


def test_six_tasks_count_the_same_however_many_scenes_they_have(tmp_path):
  """Two scenes of one task, one of another: right, wrong and right."""
  questions = [[scene_inputs.question('color', 'a')]] * 3
  inputs = input_set.Inputs(
    ids=['x', 'y', 'z'],
    captions=[''] * 3,
    questions=questions,
    tags=['counting', 'counting', 'position'],
    codes=np.zeros((3, 4)),
  )
  (tmp_path / 'scenes.jsonl').write_text(
    output_files.json_lines(
      [
        {
          'id': name,
          'answers': ['a'],
          'judged': [by],
          'similarity': 0.5,
          'understanding': 1.0,
          'generation': g,
          'own_score': 1.0,
        }
        for name, by, g in (('x', 'a', 1.0), ('y', 'b', 0.0), ('z', 'a', 1.0))
      ]
    )
  )
  scores = scene_statistics.read_scenes(tmp_path, inputs)
  mean = np.mean(list(scores[scene_statistics.TASK_MEAN].values()))
  assert mean == pytest.approx((1 / 2 + 1) / 2)


def test_an_evaluation_of_other_scenes_is_refused(tmp_path):
  write(tmp_path, ids=('one', 'three'))
  with pytest.raises(ValueError, match='other scenes'):
    scene_statistics.read_scenes(tmp_path, scene_inputs.INPUTS)


def test_the_error_of_a_mean_is_over_scenes_of_means_over_runs():
  difference = scene_statistics.mean(
    [{'a': 0.0, 'b': 1.0}, {'b': 0.0, 'a': 1.0}]
  )
  assert difference == scene_statistics.Mean(0.5, 0.0, 2)
  difference = scene_statistics.mean([{'a': 0.0, 'b': 1.0}])
  assert (difference.value, difference.error) == (0.5, pytest.approx(0.5))


def test_the_error_of_a_difference_has_scenes_and_runs_in_it():
  before = [{'a': 0.0, 'b': 0.0}, {'a': 0.0, 'b': 0.0}]
  after = [{'a': 0.4, 'b': 0.2}, {'b': 0.4, 'a': 0.2}]
  difference = scene_statistics.difference(before, after)
  # Both scenes moved by .3 in the mean over runs, and so did both runs.
  assert difference.value == pytest.approx(0.3)
  assert difference.error == pytest.approx(0.0)
  after = [{'a': 0.4, 'b': 0.2}, {'a': 0.8, 'b': 0.6}]
  difference = scene_statistics.difference(before, after)
  assert difference.runs == pytest.approx((0.3, 0.7))
  # Scenes moved by .6 and .4 (error .1), runs by .3 and .7 (error .2).
  assert difference.error == pytest.approx(np.hypot(0.1, 0.2))


def test_a_difference_of_one_run_has_the_error_of_its_scenes():
  difference = scene_statistics.difference(
    [{'a': 0.0, 'b': 0.0}], [{'a': 1.0, 'b': 0.0}]
  )
  assert (difference.value, difference.error) == (0.5, pytest.approx(0.5))


@pytest.mark.parametrize(
  'value, error, runs, freedom, significant',
  [
    (0.3, 0.1, (0.3, 0.3), 999, True),
    (-0.3, 0.1, (-0.2, -0.4), 999, True),
    (0.3, 0.16, (0.3, 0.3), 999, False),
    (0.3, 0.1, (0.7, -0.1), 999, False),
    (0.3, float('nan'), (0.3, 0.3), 999, False),
    (0.0, 0.0, (0.0, 0.0), 0, False),
    # Where runs differ by more than scenes explain three of them tell little.
    (0.3, 0.1, (0.3, 0.2, 0.4), 2, False),
    (0.5, 0.1, (0.5, 0.4, 0.6), 2, True),
    # One may have had luck.
    (0.3, 0.1, (0.3,), 999, False),
  ],
)
def test_a_difference_stands_where_chance_does_not_explain_it(
  value, error, runs, freedom, significant
):
  difference = scene_statistics.Difference(value, error, runs, freedom)
  assert difference.significant == significant


def test_few_differences_of_nothing_stand():
  """Seeds and scenes move scores at random.

  7% stand where 5% should, as three runs may happen to agree; 17% are beyond
  two standard errors.
  """
  draw, stood, beyond = np.random.default_rng(0), 0, 0
  names = [str(n) for n in range(40)]
  for _ in range(400):
    # Nothing but the luck of each run, and noise of scenes below it.
    moved = draw.normal(0, 1, (3, 1)) + draw.normal(0, 1, (3, 40))
    after = [dict(zip(names, row)) for row in moved]
    before = [dict.fromkeys(names, 0.0)] * 3
    difference = scene_statistics.difference(before, after)
    stood += difference.significant
    beyond += abs(difference.value) > 2 * difference.error
  assert 0 < stood < 0.08 * 400 < 0.1 * 400 < beyond


def test_freedom_is_that_of_what_makes_the_error():
  zero = [dict.fromkeys('abc', 0.0)] * 3
  runs = [dict.fromkeys('abc', value) for value in (0.1, 0.2, 0.3)]
  assert scene_statistics.difference(
    zero, runs
  ).degrees_of_freedom == pytest.approx(2)
  scene = [{'a': 0.1, 'b': 0.2, 'c': 0.3}] * 3
  assert scene_statistics.difference(
    zero, scene
  ).degrees_of_freedom == pytest.approx(2)
  assert scene_statistics.difference(zero, zero).degrees_of_freedom == 0
  # Of one scene nobody knows.
  assert not scene_statistics.difference(
    [{'a': 0.0}] * 2, [{'a': 0.1}] * 2
  ).significant


def test_runs_of_different_scenes_are_refused():
  with pytest.raises(ValueError, match='different scenes'):
    scene_statistics.difference([{'a': 0.0}], [{'b': 0.0}])
  with pytest.raises(ValueError, match='different scenes'):
    scene_statistics.mean([{'a': 0.0}, {'b': 0.0}])


def test_means_of_different_scenes_are_averaged_with_their_errors():
  difference = scene_statistics.average_difference(
    [scene_statistics.Mean(0.2, 0.3, 7), scene_statistics.Mean(0.4, 0.4, 8)]
  )
  assert difference.value == pytest.approx(0.3)
  assert difference.error == pytest.approx(0.25)
  assert difference.scenes == 15
