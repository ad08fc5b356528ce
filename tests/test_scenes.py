"""Scores of scenes: what is read, and which differences stand."""

import numpy as np
import pytest

from hermesflow_jax import curation
from hermesflow_jax.evaluation import floors
from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import scenes


def question(kind, answer):
  return {'question': f'{kind} {answer} ?', 'choices': ['a', 'b'],
          'answer': answer, 'element_type': kind}


INPUTS = gap.Inputs(
    ids=['one', 'two'], captions=['', ''], tags=['counting', ''],
    questions=[
        [question('color', 'a'), question('color', 'b'),
         question('count', 'a')],
        [question('count', 'b')],
    ],
    codes=np.arange(8).reshape(2, 4),
)


def write(folder, ids=('one', 'two')):
  answers = [['a', 'a', 'a'], ['b']]
  judged = [['a', 'b', 'b'], ['b']]
  rows = [
      {'id': name, 'answers': said, 'judged': by, 'similarity': 0.5,
       'understanding': u, 'generation': g}
      for name, said, by, u, g in zip(
          ids, answers, judged, (2 / 3, 1.0), (2 / 3, 1.0))
  ]
  (folder / 'scenes.jsonl').write_text(curation.dump(rows))


def test_scores_of_types_and_tasks_are_those_of_their_scenes(tmp_path):
  write(tmp_path)
  found = scenes.read(tmp_path, INPUTS)
  assert found['understanding'] == {'one': 2 / 3, 'two': 1.0}
  assert found['gap'] == {'one': 0.0, 'two': 0.0}
  assert found['caption_similarity'] == {'one': 0.5, 'two': 0.5}
  # One of two colours was told right, both were drawn right.
  assert found['understanding/color'] == {'one': 0.5}
  assert found['generation/color'] == {'one': 1.0}
  assert found['generation/count'] == {'one': 0.0, 'two': 1.0}
  # Not all of its questions are right; the other scene has no task.
  assert found['geneval/counting'] == {'one': 0.0}


def test_an_evaluation_of_other_scenes_is_refused(tmp_path):
  write(tmp_path, ids=('one', 'three'))
  with pytest.raises(ValueError, match='other scenes'):
    scenes.read(tmp_path, INPUTS)


def test_the_error_of_a_mean_is_over_scenes_of_means_over_runs():
  found = scenes.mean([{'a': 0.0, 'b': 1.0}, {'b': 0.0, 'a': 1.0}])
  assert found == scenes.Mean(0.5, 0.0)
  found = scenes.mean([{'a': 0.0, 'b': 1.0}])
  assert (found.value, found.error) == (0.5, pytest.approx(0.5))


def test_the_error_of_a_difference_has_scenes_and_runs_in_it():
  before = [{'a': 0.0, 'b': 0.0}, {'a': 0.0, 'b': 0.0}]
  after = [{'a': 0.4, 'b': 0.2}, {'b': 0.4, 'a': 0.2}]
  found = scenes.difference(before, after)
  # Both scenes moved by .3 in the mean over runs, and so did both runs.
  assert found.value == pytest.approx(0.3)
  assert found.error == pytest.approx(0.0)
  after = [{'a': 0.4, 'b': 0.2}, {'a': 0.8, 'b': 0.6}]
  found = scenes.difference(before, after)
  assert found.runs == pytest.approx((0.3, 0.7))
  # Scenes moved by .6 and .4 (error .1), runs by .3 and .7 (error .2).
  assert found.error == pytest.approx(np.hypot(0.1, 0.2))


def test_a_difference_of_one_run_has_the_error_of_its_scenes():
  found = scenes.difference([{'a': 0.0, 'b': 0.0}], [{'a': 1.0, 'b': 0.0}])
  assert (found.value, found.error) == (0.5, pytest.approx(0.5))


@pytest.mark.parametrize('value, error, runs, stands', [
    (0.3, 0.1, (0.3, 0.3), True),
    (-0.3, 0.1, (-0.2, -0.4), True),
    (0.3, 0.15, (0.3, 0.3), False),
    (0.3, 0.1, (0.7, -0.1), False),
    (0.3, float('nan'), (0.3,), False),
    (0.0, 0.0, (0.0, 0.0), False),
])
def test_a_difference_stands_beyond_two_errors_with_one_sign(
    value, error, runs, stands
):
  assert scenes.Difference(value, error, runs).stands == stands


def test_runs_of_different_scenes_are_refused():
  with pytest.raises(ValueError, match='different scenes'):
    scenes.difference([{'a': 0.0}], [{'b': 0.0}])
  with pytest.raises(ValueError, match='different scenes'):
    scenes.mean([{'a': 0.0}, {'b': 0.0}])


def test_means_of_different_scenes_are_averaged_with_their_errors():
  found = scenes.average([scenes.Mean(0.2, 0.3), scenes.Mean(0.4, 0.4)])
  assert found.value == pytest.approx(0.3)
  assert found.error == pytest.approx(0.25)


class Knows:
  """Answers right about the real codes of a question's scene alone."""

  def answer(self, codes, questions):
    return [
        [q['answer'] if np.array_equal(own, given) else 'neither'
         for q in asked]
        for own, given, asked in zip(INPUTS.codes, codes, questions)
    ]


def test_floors_ask_about_the_wrong_image_and_an_empty_one():
  def says_a(codes, questions):
    return [['a'] * len(asked) for asked in questions]

  found = floors.measure(Knows(), INPUTS, says_a, np.zeros(4, int))
  assert found['real']['understanding'] == 1
  assert found['another']['understanding'] == 0
  assert found['blank']['understanding'] == 0
  # Two of three, and none of one.
  assert found['blank']['judge'] == pytest.approx(1 / 3)
